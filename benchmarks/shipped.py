"""A run as `oneforall fit --config ...` sets it up, built without the command line.

A machine to measure on may have torch and Lightning but not jsonargparse. So the shipped configs are read and built
here in the plainest way; a test compares the result with that of the command line.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import lightning as L
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from callbacks.non_finite import NonFinite
from callbacks.plots.curves import Curves
from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.observers import observers
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from command_line.process import import_packages
from command_line.trainer import AutoPrecisionTrainer
from utils.checkpoint_io import WholeFileIO
from utils.config_bases import put_on_top, with_base

CONFIGS = Path(__file__).parents[1] / "configs"
PACKAGES = ("architectures", "callbacks", "datamodules", "lightning_modules")
DEFERRED = ("optimizer", "schedule")
"""Arguments of a module that are called later, with more arguments."""
SECTIONS: dict[str, type[Callback]] = {
    "checkpoint": BestCheckpoint,
    "resume_checkpoint": ResumeCheckpoint,
    "non_finite": NonFinite,
    "curves": Curves,
}


def read_config(names: Sequence[str], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the content of shipped configs, later ones and then the changes on top.

    Args:
        names: Paths below configs/, such as `cifar10/resnet18.yaml`.
        changes: Values by path, such as `{"trainer.max_epochs": 1}`; `init_args` may be left out.
    """
    config: dict[str, Any] = {}
    for name in names:
        put_on_top(config, with_base(CONFIGS / name, lambda path: Path(path).read_text(encoding="utf-8")))
    for path, value in changes.items():
        place = config
        *parents, last = path.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            place = place if last == "class_path" else place.get("init_args", place)
        place[last] = value
    return config


@functools.cache
def _class(path: str) -> type:
    """Return a class by its path, or one of this program by its name."""
    module, _, name = path.rpartition(".")
    if module:
        found: type = getattr(importlib.import_module(module), name)
        return found
    import_packages(PACKAGES)
    modules = [each for key, each in sys.modules.items() if key.split(".")[0] in PACKAGES]
    named = (vars(each)[name] for each in modules if name in vars(each))
    found_by_name = next((each for each in named if isinstance(each, type)), None)
    if found_by_name is None:
        raise ImportError(f"{path} is in none of {', '.join(PACKAGES)}, or something that its file imports is missing")
    return found_by_name


def build(value: Any) -> Any:
    """Return what a value of a config stands for: an object, or the value itself."""
    if isinstance(value, list):
        return [build(each) for each in value]
    if not isinstance(value, dict) or "class_path" not in value:
        return value
    found = _class(value["class_path"])
    return found(**_arguments(found, value.get("init_args") or {}))


def _arguments(owner: type, values: dict[str, Any]) -> dict[str, Any]:
    built = {}
    for name, value in values.items():
        if not isinstance(value, dict):
            built[name] = build(value)
        elif "class_path" not in value:
            fields = _type_of(owner, name)
            built[name] = fields(**_arguments(fields, value))
        elif name in DEFERRED:
            found = _class(value["class_path"])
            built[name] = functools.partial(found, **_arguments(found, value.get("init_args") or {}))
        else:
            built[name] = build(value)
    return built


def _type_of(owner: type, name: str) -> type:
    """Return the type of an argument of a class or of one of its bases: a dataclass."""
    for base in owner.__mro__:
        initialize = base.__dict__.get("__init__")
        if inspect.isfunction(initialize) and name in (types := get_type_hints(initialize)):
            found: type = types[name]
            return found
    raise TypeError(f"{owner.__name__} has no argument {name}")


def shipped_run(
    names: Sequence[str],
    run_dir: Path,
    changes: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    device: torch.device | None = None,
) -> tuple[Trainer, LightningModule, LightningDataModule]:
    """Return trainer, module and datamodule of a run.

    Args:
        names: Shipped configs, as for `read_config`.
        run_dir: The run folder.
        changes: What differs from them, as for `read_config`.
        callbacks: Callbacks after all others.
        device: The device to run on; None for what the configs say.
    """
    config = read_config(names, changes or {})
    seed = L.seed_everything(config.pop("seed_everything", 0), verbose=False)
    model = build(config["model"] | {"init_args": config["model"]["init_args"] | {"seed": seed}})
    data = build(config["data"] | {"init_args": config["data"]["init_args"] | {"seed": seed}})
    options = {**config.get("trainer", {}), **(trainer_on(device) if device is not None else {})}
    given = build(options.pop("callbacks", []))
    sections = [kind(**config.get(name, {})) for name, kind in SECTIONS.items()]
    trainer = AutoPrecisionTrainer(
        **options,
        default_root_dir=run_dir,
        callbacks=[*_possible([*given, *sections, *observers(config, progress=_has("rich"))]), *callbacks],
        logger=MetricsCSV(str(run_dir)),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.strategy.checkpoint_io = WholeFileIO()
    return trainer, model, data


def trainer_on(device: torch.device) -> dict[str, Any]:
    """Return the arguments of a Trainer that uses one device; Lightning takes a lone number for that of devices."""
    if device.type == "cuda":
        return {"accelerator": "gpu", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


def _possible(callbacks: list[Callback]) -> list[Callback]:
    """Return the callbacks without the plots if there is no matplotlib."""
    return [each for each in callbacks if _has("matplotlib") or not type(each).__module__.startswith("callbacks.plots")]


def _has(library: str) -> bool:
    return find_spec(library) is not None
