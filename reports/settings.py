"""Settings of a run that differ from the defaults of its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from utils.config_changes import MISSING, changes_from_defaults, value_text


class Setting(NamedTuple):
    """A field whose value is not the default of its class.

    Attributes:
        field: Its name as on the command line.
        value: Its value.
        default: The default; empty where the class has none.
    """

    field: str
    value: str
    default: str


def settings_of(config: Mapping[str, Any]) -> list[Setting]:
    """Return the fields of a resolved config that differ from their defaults or have none.

    It imports the classes of this program that the config names, which may take seconds.
    """
    from callbacks.run.sections import SECTIONS
    from utils.trust import Refusal, resolve

    for class_path in _class_paths(config):
        with suppress(Refusal):  # a class of another program is not imported, and has no known defaults
            resolve(class_path, object, "config")
    return [
        Setting(change.field, value_text(change.new), "" if change.old is MISSING else value_text(change.old))
        for change in changes_from_defaults(config, SECTIONS)
    ]


def _class_paths(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"]
        for each in value.values():
            yield from _class_paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _class_paths(each)
