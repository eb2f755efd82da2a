"""The config that a checkpoint carries, as it should be and with values of an attacker."""

import copy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMMANDS = ("fit", "validate", "test", "predict")
RUN = {"class_path": "os.system", "init_args": {"command": "touch trace"}}
"""Would run a command if it were built."""


def config(name: str = "images") -> dict[str, Any]:
    """A config as a checkpoint has it, but for the classes' full paths."""
    content: dict[str, Any] = yaml.safe_load((ROOT / f"configs/quickstart/{name}.yaml").read_text())
    return {"seed_everything": 0, "checkpoint": {"monitor": "val/loss", "mode": "min"}, **content}


def changed(whole: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a copy with one value replaced, or added."""
    result = copy.deepcopy(whole)
    place: Any = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result
