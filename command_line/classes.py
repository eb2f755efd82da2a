"""The classes that a field of a config takes, and the explanation of a name that is not one of them."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jsonargparse._typehints import get_all_subclass_paths, get_class_types
from torch import nn

ADAPTERS = {"torchvision": ("TorchvisionNet", "resnet18"), "timm": ("TimmNet", "vit_tiny_patch16_224")}
"""The class that builds any network of a library, by the library's package, and the name of such a network."""

MOST_LISTED = 24
"""Maximum number of classes that are listed where no name is similar."""


def bases_of(typehint: Any) -> list[type]:
    """Return the classes whose subclasses a field of this type takes, directly or in a list or a callable."""
    return list(dict.fromkeys(base for base in get_class_types(typehint) if inspect.isclass(base)))


def known_classes(typehint: Any) -> dict[str, str]:
    """Return the classes that a field of this type takes: their class paths by bare name, ours first."""
    bases = {base.__name__ for base in bases_of(typehint)}

    def place(path: str) -> tuple[bool, str]:  # by module: the order of imports is not always the same
        return path.startswith(("lightning.", "torch.")), path.rpartition(".")[0]

    paths = sorted(get_all_subclass_paths(typehint), key=place)
    return {name: path for path in paths if (name := path.rsplit(".", 1)[-1]) not in bases and _class_at(path)}


def explain_class(name: str, typehint: Any, fields: dict[str, Any], packages: Sequence[str]) -> str:
    """Return what is wrong with a class name, and which is meant or may be given instead.

    Args:
        name: The name or class path.
        typehint: Type of the field that has it.
        fields: Types of other fields, by name: where the class may belong.
        packages: Names of the packages whose classes a config may name by their bare names.
    """
    last = name.rsplit(".", 1)[-1]
    if typehint is None:
        return f"there is no class {name}"
    known = known_classes(typehint)
    bases = " or ".join(base.__name__ for base in bases_of(typehint))
    adapter, example = ADAPTERS.get(name.partition(".")[0], ("", ""))
    if adapter in known:
        return f"{name} cannot be used as {bases}: use {adapter} instead, with a `name` such as {example}"
    found = next(iter(_loaded(last, name, packages)), None)
    if found is not None and last not in known:
        # A field that takes any module says nothing about where this one belongs
        narrow = {
            field: tuple(base for base in bases_of(type_) if base is not nn.Module) for field, type_ in fields.items()
        }
        homes = [field for field, bases_ in narrow.items() if issubclass(found, bases_)]
        if homes:
            return f"{name} is not a subclass of {bases}; it belongs to {homes[0]}{_choices(known, f'. Known {bases}')}"
        base = bases_of(typehint)[0]
        return (
            f"{name} ({found.__module__}) is not a subclass of {bases}: derive it, as in "
            f"`class {last}({base.__name__})` with `from {base.__module__} import {base.__name__}`"
        )
    near = nearest(last, known)
    hint = f"; did you mean {near}?" if near else _choices(known, f"; known {bases}")
    return f"there is no {bases} named {name}{hint}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that is most similar to `name`, ignoring case; None if none is similar.

    A name of several words that begins or ends with `name` is similar as well: `mixup_alpha` for `mixup`.
    """
    by_lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), by_lower, 1, 0.7)
    longer = [each for each in by_lower if each.startswith(f"{name.lower()}_") or each.endswith(f"_{name.lower()}")]
    return by_lower[(close + longer)[0]] if close or longer else None


def subclasses(typehint: Any) -> list[type]:
    """Return the classes that a field of this type takes."""
    return [cls for path in known_classes(typehint).values() if (cls := _class_at(path)) is not None]


def _class_at(path: str) -> type | None:
    """Return the class of a class path; None if there is none, as for the paths that Lightning makes of optimizers."""
    module, _, name = path.rpartition(".")
    cls = getattr(sys.modules.get(module), name, None)
    return cls if inspect.isclass(cls) else None


def _choices(known: dict[str, str], intro: str) -> str:
    """Return the known classes as a list to print; nothing if there are too many to read."""
    return f"{intro}: {', '.join(known)}" if 0 < len(known) <= MOST_LISTED else ""


def _loaded(last: str, name: str, packages: Sequence[str]) -> Iterator[type]:
    """Yield the class of a name or class path, if its module has been imported."""
    module_name = name.rpartition(".")[0]
    for module in [module_name] if module_name else list(sys.modules):
        if module_name or module.partition(".")[0] in packages:
            cls = getattr(sys.modules.get(module), last, None)
            if inspect.isclass(cls):
                yield cls
