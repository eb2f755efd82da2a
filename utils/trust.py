"""The gate for configs that come with a checkpoint: they are data, and may name only classes on a short list.

It is one of three limits on a stranger's checkpoint. `torch_files.py` reads the file without running it; of its config,
`checkpoint_config.py` takes only the part that a command needs, which passes this gate; `checkpoints.py` verifies its
entries and weights. `--trust_checkpoint` lifts this gate. The config.yaml of a run folder that `--resume` continues
passes it too.

jsonargparse imports whatever a config names as a `class_path` and calls it, even `os.system`. A config from a stranger
is therefore checked against the signatures of the classes that it names before jsonargparse sees it: where a class is
expected, only one of `PACKAGES` and `LIBRARIES` passes, and everywhere else only plain values of the expected type do.
To decide, only modules of `PACKAGES` are imported, and nothing is called.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PACKAGES = ("architectures", "callbacks", "datamodules", "lightning_modules")
"""Packages of this program whose classes a config may name."""

LIBRARIES = ("torch.optim", "torchmetrics", "lightning.pytorch.callbacks.early_stopping")
"""Other packages whose classes a checkpoint may name."""

MAX_DEPTH, MAX_VALUES = 32, 20_000
"""Maximum levels and values of a config: a small file can hold a list that contains itself or repeats endlessly."""


class Refusal(ValueError):
    """What is wrong with a value, and where it is.

    Args:
        field: Path of the value in the config.
        reason: What is wrong, as a clause whose subject is the field.
    """

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field.replace('.init_args', '').removesuffix('.class_path')} {reason}")
        self.field = field


def plain(value: object) -> Any:
    """Return a copy of plain values in dicts with names as keys and in lists; tuples become lists.

    Raises:
        Refusal: It contains anything else, or too many values.
    """
    return _plain(value, "config", 0, iter(range(MAX_VALUES)))


def _plain(value: object, field: str, depth: int, budget: Iterator[int]) -> Any:
    if depth > MAX_DEPTH or next(budget, None) is None:
        raise Refusal(field, "is nested too deeply or has too many values")
    if isinstance(value, dict):
        if not all(type(name) is str for name in value):
            raise Refusal(field, "has keys that are not names")
        return {name: _plain(each, f"{field}.{name}", depth + 1, budget) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, f"{field}[{place}]", depth + 1, budget) for place, each in enumerate(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise Refusal(field, f"is a {type(value).__name__}, which is not a plain value")


def resolve(class_path: object, base: type, field: str) -> type:
    """Return the listed class that a config names by its path, or by its bare name among the subclasses of `base`.

    Raises:
        Refusal: It is not a listed class, or not a subclass of `base`.
    """
    found = _find(class_path, base) if isinstance(class_path, str) else None
    if not isinstance(found, type) or not _is_listed(found.__module__):
        raise Refusal(
            field, f"names {_shown(class_path)}, which is not a class of this program, torch.optim or torchmetrics"
        )
    if not issubclass(found, base):
        raise Refusal(field, f"names {_shown(class_path)}, which is not a subclass of {base.__name__}")
    return found


def _find(class_path: str, base: type) -> object:
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        named = [each for each in _subclasses(base) if each.__name__ == name and _is_listed(each.__module__)]
        return named[0] if len(named) == 1 else None
    if module_name not in sys.modules and module_name.partition(".")[0] in PACKAGES:
        try:
            importlib.import_module(module_name)
        except ImportError:
            return None
    return vars(sys.modules[module_name]).get(name) if module_name in sys.modules else None


def _subclasses(base: type) -> set[type]:
    direct: list[type] = type.__subclasses__(base)
    return {base, *direct, *(each for subclass in direct for each in _subclasses(subclass))}


def _is_listed(module_name: object) -> bool:
    return isinstance(module_name, str) and any(
        module_name == name or module_name.startswith(f"{name}.") for name in (*PACKAGES, *LIBRARIES)
    )


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class, including what `**kwargs` pass on to its bases, with hints evaluated."""
    found: dict[str, inspect.Parameter] = {}
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        init = vars(owner)["__init__"]
        parameters = inspect.signature(init).parameters.values()
        try:
            hints = get_type_hints(init)
        except (NameError, TypeError):  # that only a type checker can read
            hints = {}
        for parameter in list(parameters)[1:]:
            if parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter.replace(annotation=hints.get(parameter.name, Any)))
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def admit(value: Any, hint: Any, field: str) -> Any:
    """Return a plain value that fits a type hint, each class in it by its full path.

    Raises:
        Refusal: It does not fit, or names a class that is not on the list.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _admit_one_of(value, arguments, field)
    if origin is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in arguments)
    elif hint in _SCALARS:
        fits = type(value) in _SCALARS[hint]
    elif (origin or hint) in (dict, Mapping):
        return _admit_mapping(value, arguments, field)
    elif (origin or hint) in (list, tuple, set, Sequence, Iterable):
        return _admit_elements(value, arguments, field)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type) and _is_fields(value):
        return admit_arguments(value, hint, field)
    elif isinstance(hint, type) and hint not in (object, Any):
        return admit_object(value, hint, field)
    elif _returns_class(hint):
        return admit_object(value, arguments[-1], field)
    else:  # anything goes, and jsonargparse reads a string as YAML
        fits = type(value) in (bool, int, float, type(None))
    if not fits:
        raise _misplaced(value, field)
    return value


_SCALARS: dict[Any, tuple[type, ...]] = {
    None: (type(None),),
    type(None): (type(None),),
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    Path: (str,),
}


def _is_fields(value: object) -> bool:
    return isinstance(value, dict) and "class_path" not in value


def _returns_class(hint: object) -> bool:
    """Return whether a hint is a `Callable[..., Class]`, for which a config names a class."""
    return get_origin(hint) is Callable and isinstance(get_args(hint)[-1], type)


def _admit_one_of(value: Any, hints: Iterable[Any], field: str) -> Any:
    refusals = []
    for hint in hints:
        try:
            return admit(value, hint, field)
        except Refusal as refusal:
            refusals.append(refusal)
    raise max(refusals, key=lambda refusal: len(refusal.field))  # the one that got furthest


def _admit_mapping(value: Any, arguments: tuple[Any, ...], field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _misplaced(value, field)
    hint = arguments[-1] if arguments else Any
    return {name: admit(each, hint, f"{field}.{name}") for name, each in value.items()}


def _admit_elements(value: Any, arguments: tuple[Any, ...], field: str) -> list[Any]:
    if not isinstance(value, list):
        raise _misplaced(value, field)
    hints = arguments or (Any,)
    if len(hints) != len(value) or ... in hints:  # else a tuple[A, B]
        hints = (hints[0],) * len(value)
    return [admit(each, hint, f"{field}[{place}]") for place, (each, hint) in enumerate(zip(value, hints, strict=True))]


def admit_object(value: Any, base: type, field: str) -> dict[str, Any]:
    """Return a listed class and its arguments, as `{class_path, init_args}`.

    Raises:
        Refusal: It is anything else. A class without arguments may not be a bare string: jsonargparse would take it for
            a class, a function or a file, whichever it finds.
    """
    if not isinstance(value, dict) or "class_path" not in value or value.keys() - {"class_path", "init_args"}:
        raise Refusal(field, f"is {_shown(value)}, but must have class_path and init_args of a class ({base.__name__})")
    found = resolve(value["class_path"], base, f"{field}.class_path")
    arguments = admit_arguments(value.get("init_args") or {}, found, f"{field}.init_args")
    return {"class_path": f"{found.__module__}.{found.__qualname__}", "init_args": arguments}


def admit_arguments(value: Any, owner: type, field: str) -> dict[str, Any]:
    """Return the arguments of a class, by name.

    Raises:
        Refusal: The class has no argument of that name, or one does not fit.
    """
    parameters = parameters_of(owner)
    if not isinstance(value, dict):
        raise Refusal(field, f"is {_shown(value)}, but must have the arguments of {owner.__name__}")
    for name in value:
        if name not in parameters:
            raise Refusal(f"{field}.{name}", f"is not an argument of {owner.__name__}")
    return {name: admit(each, parameters[name].annotation, f"{field}.{name}") for name, each in value.items()}


def _misplaced(value: object, field: str) -> Refusal:
    return Refusal(field, f"is {_shown(value)}, which is not a valid value")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
