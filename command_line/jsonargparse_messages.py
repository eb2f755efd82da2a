"""What jsonargparse says of a wrong config or flag, read from its prose; the tests hold the installed version to it."""

from __future__ import annotations

import re

_MISSPELT = re.compile(r"(?:unrecognized arguments: -*|[Oo]ption '|import path string: |has no attribute ')([\w.]+)")
_FIELD = re.compile(r'Parser key "([^"]+)"')
_EXPECTED = re.compile(r"Expected a <class '([^']+)'>")
_GIVEN = re.compile(r"^ *(?:Given value: |.*Got value: )(.*)$", re.MULTILINE)
_NOISE = re.compile(
    r"Parser key|Expected a <class|Expected a path|Subtypes:|Errors:|Does not val|Given value|Problem with given"
)


def is_report(message: str) -> bool:
    """Return whether a message is a report on a value, of many lines."""
    return "Parser key" in message or "Union subtypes" in message


def objections(message: str) -> str:
    """Return what matters in a report on a value, as one line: the field, and what its types object to.

    A union reports for each of its members. Objections that name an option, a class or a value say most; those that
    merely expected None say nothing.
    """
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    fields = dict.fromkeys(_FIELD.findall(message))
    kept = dict.fromkeys(line for line in lines if not _NOISE.match(line))
    given = next(iter(_GIVEN.findall(message)), "nothing").strip()
    if not kept:
        expected = [name for name in dict.fromkeys(_EXPECTED.findall(message)) if name != "NoneType"]
        kept = {f"expected {' or '.join(expected) or 'another value'}, got {given}": None}
    elif len(given) < 100 and given not in "".join(kept):
        kept[f"got {given}"] = None
    return ": ".join([*fields, "; ".join(kept)])


def misspelt_names(message: str) -> list[str]:
    """Return the names that a message says it does not know."""
    return _MISSPELT.findall(message)
