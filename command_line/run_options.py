"""Options and name of a run, for the parser and for code that answers without it; `cli.py` acts on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class RunOption(NamedTuple):
    """An option that all commands have.

    Attributes:
        name: Its name.
        value: What its value is, for a help page; empty for a switch, which is on if given.
        help: What it does.
    """

    name: str
    value: str
    help: str


RUN_OPTIONS = (
    RunOption("name", "NAME", "The run folder is runs/NAME; a new training takes runs/NAME-2, -3, ... if that exists."),
    RunOption("run_dir", "DIR", "The run folder, instead of runs/NAME."),
    RunOption(
        "resume",
        "",
        "Resume the run in its folder (--run_dir, or runs/NAME) from last.ckpt or, if that is damaged, previous.ckpt; "
        "start a new run if the folder has none that has trained.",
    ),
    RunOption(
        "output",
        "FILE",
        "File that `predict` writes (default: in the run folder); FILE.jsonl includes the scores of generated text.",
    ),
    RunOption(
        "report",
        "",
        "Whether `fit` and `test` write report.html at the end; `--report false` turns it off.",
    ),
    RunOption("debug", "", "Show the traceback of an error."),
    RunOption(
        "trust_checkpoint",
        "",
        "Use the whole config of --ckpt_path, which can then run any code. Only for checkpoints whose author you "
        "trust.",
    ),
)


def default_name(configs: Sequence[str], network: str) -> str:
    """Return the name of a run that was not given one.

    Args:
        configs: Config files of the command line. The run is named after the first one, or after its folder if it is
            the config.yaml of a run folder.
        network: Class path of the network, after which a run without configs is named.
    """
    if not configs:
        return network.rsplit(".", 1)[-1].lower()
    first = Path(configs[0]).absolute()
    return first.parent.name if first.name == "config.yaml" else first.stem


def wanted_folder(run_dir: str | None, name: str | None) -> Path | None:
    """Return the folder that `--run_dir` asks for or, without it, `--name`; None if neither is given.

    Raises:
        ValueError: As `named_folder`.
    """
    if run_dir:
        return Path(run_dir)
    return None if name is None else named_folder(name)


def named_folder(name: str) -> Path:
    """Return the folder of a name, runs/NAME.

    Raises:
        ValueError: It is runs/ itself, or leads out of it.
    """
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise ValueError(f"--name {name} is outside runs/; pass a name within it (--run_dir takes any folder)")
    if not Path(name).parts:
        raise ValueError(f"--name {name!r} is runs/ itself; pass a name within it")
    return Path("runs") / name
