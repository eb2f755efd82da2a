"""Differences between two resolved configs, each nested plain values as in config.yaml and checkpoints.

Equal things compare equal however they are spelled: a class by any of its import paths, a single logger and a list of
one, a tuple and a list. A field that one of them lacks, because another version of the program wrote it, counts as that
field's default.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

MISSING = inspect.Parameter.empty
SHOWN = 80
"""Number of characters that `Change.describe` shows of a value."""


class Change(NamedTuple):
    """A field that differs.

    Attributes:
        field: Its name as on the command line, such as "model.optimizer.lr".
        old, new: Its values; `MISSING` where a config has no such field.
    """

    field: str
    old: Any
    new: Any

    def describe(self) -> str:
        """Return the change as text, such as "model.optimizer.lr 0.1 -> 0.01"."""
        old, new = value_text(self.old), value_text(self.new)
        if old == new:  # two classes of the same name, or values too long to show
            old, new = (str(each.get("class_path")) if _names_class(each) else "..." for each in (self.old, self.new))
        return f"{self.field} {old} -> {new}"


def config_changes(
    old: dict[str, Any], new: dict[str, Any], sections: Mapping[str, type] | None = None
) -> list[Change]:
    """Return the fields in which two configs differ, in the order of the new one.

    Args:
        old: The config of a checkpoint.
        new: The config of this version of the program.
        sections: The class of each part of the config that does not name its own, such as the Trainer's.
    """
    return [
        change
        for name in new
        if name in old
        for change in _compare(name, old[name], new[name], (sections or {}).get(name))
    ]


def changes_from_defaults(config: Mapping[str, Any], sections: Mapping[str, type]) -> list[Change]:
    """Return the fields of a config that differ from the defaults of their classes.

    The default is the `old` of each change: `MISSING` where a class has no default, or is not imported.

    Args:
        config: A resolved config.
        sections: As for `config_changes`.
    """
    return [
        change for name, value in config.items() for change in _beside_default(name, value, MISSING, sections.get(name))
    ]


def _beside_default(field: str, value: Any, default: Any, owner: type | None) -> Iterator[Change]:
    """Yield how a value differs from its default; `owner` is the class whose arguments it is, if it is a mapping."""
    if isinstance(value, dict) and (_names_class(value) or owner is not None):
        if _names_class(value):
            if not (_names_class(default) and _class_of(default) == _class_of(value)):
                yield Change(field, default, value)
            owner, value = class_of(value), _arguments(value)
        for name, argument in value.items():
            usual = default_of(owner, name)
            yield from _beside_default(f"{field}.{name}", argument, usual, _type_of(owner, name, usual))
    elif value != default and not (value is None and default is MISSING):
        yield Change(field, default, value)
        for each in value if isinstance(value, list) else []:
            if _names_class(each):
                yield from _beside_default(f"{field}.{_class_name(each)}", each, each, None)


def _compare(field: str, old: Any, new: Any, owner: type | None) -> Iterator[Change]:
    """Yield the differences of two values; `owner` is the class whose arguments they are, if they are a mapping."""
    if isinstance(old, list) != isinstance(new, list):  # a single logger or callback stands for a list of one
        old, new = ([value] if _names_class(value) else value for value in (old, new))
    if _names_class(old) and _names_class(new):
        if _class_of(old) == _class_of(new):
            found = _class_of(new)
            yield from _compare_mappings(
                field, _arguments(old), _arguments(new), found if isinstance(found, type) else None
            )
        else:
            yield Change(field, old, new)
    elif isinstance(old, dict) and isinstance(new, dict) and not (_names_class(old) or _names_class(new)):
        yield from _compare_mappings(field, old, new, owner)
    elif _same_classes(old, new):
        for one, other in zip(old, new, strict=True):
            yield from _compare(f"{field}.{_class_name(other)}", one, other, None)
    elif old != new:
        yield Change(field, old, new)


def _compare_mappings(field: str, old: dict[str, Any], new: dict[str, Any], owner: type | None) -> Iterator[Change]:
    for name in new:
        default = default_of(owner, name)
        before = old.get(name, default)
        if before is MISSING and owner is not None and new[name] is None:
            continue
        yield from _compare(f"{field}.{name}", before, new[name], _type_of(owner, name, default))
    if owner is None:  # else this version has no such field, and its old value has no effect
        yield from (Change(f"{field}.{name}", old[name], MISSING) for name in old if name not in new)


# --- classes -------------------------------------------------------------------------------------------------------


def _names_class(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class_path"), str)


def _arguments(value: dict[str, Any]) -> dict[str, Any]:
    return {**(value.get("init_args") or {}), **(value.get("dict_kwargs") or {})}


def _same_classes(old: Any, new: Any) -> bool:
    """Return whether both are lists of the same classes in the same order."""
    if not (isinstance(old, list) and isinstance(new, list) and old and len(old) == len(new)):
        return False
    pairs = list(zip(old, new, strict=True))
    return all(_names_class(a) and _names_class(b) and _class_of(a) == _class_of(b) for a, b in pairs)


def _class_of(value: dict[str, Any]) -> Any:
    """Return the class that a config names; its path if it is not imported: nothing is imported for a comparison."""
    path: str = value["class_path"]
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, path)


def _class_name(value: dict[str, Any]) -> str:
    return str(value["class_path"]).rpartition(".")[2]


def class_of(value: Any) -> type | None:
    """Return the class that a part of a config names; None if it names none, or one that is not imported."""
    found = _class_of(value) if _names_class(value) else None
    return found if isinstance(found, type) else None


def default_of(owner: type | None, name: str) -> Any:
    """Return the default of a class's argument as a plain value; `MISSING` without one.

    Arguments that a class passes on through `**options` are looked up in its base classes.
    """
    if owner is None:
        return MISSING
    if dataclasses.is_dataclass(owner):
        field = next((field for field in dataclasses.fields(owner) if field.name == name), None)
        if field is None:
            return MISSING
        if field.default_factory is not dataclasses.MISSING:
            return _plain(field.default_factory())
        return MISSING if field.default is dataclasses.MISSING else _plain(field.default)
    for base in owner.__mro__:
        if "__init__" in vars(base):
            try:
                parameter = inspect.signature(vars(base)["__init__"]).parameters.get(name)
            except (TypeError, ValueError):  # of a class written in C
                return MISSING
            if parameter is not None:
                return _plain(parameter.default)
    return MISSING


def _type_of(owner: type | None, name: str, default: Any) -> type | None:
    """Return the dataclass that an argument's type names; None if it names none."""
    if owner is None:
        return None
    for base in owner.__mro__:
        try:
            hint = typing.get_type_hints(vars(base).get("__init__")).get(name)
        except (TypeError, NameError, AttributeError):
            continue
        for kind in (hint, *typing.get_args(hint)):
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                return kind
        if hint is not None:
            return None
    return None


def _plain(value: Any) -> Any:
    """Return a value as YAML would give it back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


# --- text ----------------------------------------------------------------------------------------------------------


def value_text(value: Any) -> str:
    """Return a value as a config would have it, on one line; for a class, its name."""
    if value is MISSING:
        return "(unset)"
    text = yaml.safe_dump(_shortened(value), default_flow_style=True, width=10**6, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _shortened(value: Any) -> Any:
    if _names_class(value):
        return _class_name(value)
    return [_shortened(each) for each in value] if isinstance(value, list) else value
