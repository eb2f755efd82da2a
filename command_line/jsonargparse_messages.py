"""Parsing of jsonargparse's error messages, which are prose; tests check it against the installed version."""

from __future__ import annotations

import re

_OPTION = re.compile(r"(?:unrecognized arguments: -*|[Oo]ption ')([\w.]+)")
_CLASS = re.compile(r"import path string: (\S+)|Import path (\S+) does not correspond|given class_path '([^']+)'")
_LOOSE = re.compile(r"unrecognized arguments: (?!-)(.*)")
_REQUIRED = re.compile(r"the following arguments are required: (.*)")
_NO_CLASS = re.compile(r"Not a valid subclass of \w+\. Got value: (.*)")
_NESTED = re.compile(r"NestedArg\(key='[^']*', val='?(.*?)'?\)$")
_YAML = {"True": "true", "False": "false", "None": "null"}
_EXPECTED = re.compile(r"Expected a <class '([^']+)'>")
_LITERAL = re.compile(r"Expected a typing\.Literal\[([^]]*)\]")
_GIVEN = re.compile(r"^ *(?:Given value: |.*Got value: )(.*)$", re.MULTILINE)
_NOISE = re.compile(
    r"Parser key|Expected a dot import|Expected a <class|Expected a path|Subtypes:|Errors:|Does not val|Given value|"
    r"Problem with given"
)


def is_report(message: str) -> bool:
    """Return whether a message is a report on a value, of many lines."""
    return "Parser key" in message or "Union subtypes" in message


def objections(message: str) -> str:
    """Return what matters in a report on a value, as one line: what its types object to.

    A union reports for each of its members. Objections that name an option, a class or a value say most; those that
    merely expected None say nothing.
    """
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    kept = dict.fromkeys(line for line in lines if not _NOISE.match(line))
    given = as_given(next(iter(_GIVEN.findall(message)), "nothing").strip())
    choices = [choice for literal in _LITERAL.findall(message) for choice in literal.replace("'", "").split(", ")]
    expected = [name for name in dict.fromkeys(_EXPECTED.findall(message)) if name != "NoneType"]
    if choices:
        kept = {f"expected one of {', '.join(dict.fromkeys(choices))}, got {given}": None}
    elif not kept:
        kept = {f"expected {' or '.join(expected) or 'another value'}, got {given}": None}
        if "str" in expected and given in ("true", "false"):
            kept["quote it: YAML reads yes, no, on and off as true and false"] = None
    elif len(given) < 100 and given not in "".join(kept):
        kept[f"got {given}"] = None
    return "; ".join(kept)


def as_given(value: str) -> str:
    """Return a value as the user wrote it, not as Python represents it."""
    nested = _NESTED.match(value)
    value = nested[1] if nested else value
    return _YAML.get(value, value)


def unknown_option(objection: str) -> str | None:
    """Return the option that an objection does not know, without dashes; None for other objections."""
    found = _OPTION.search(objection)
    return found[1] if found else None


def loose_arguments(objection: str) -> list[str]:
    """Return the values that an objection says belong to no option; nothing for other objections."""
    found = _LOOSE.search(objection)
    return [word for word in found[1].split() if not word.startswith("-")] if found else []


def unknown_class(objection: str) -> str | None:
    """Return the class that an objection does not know, or that does not fit; None for other objections."""
    found = _CLASS.search(objection)
    return next(filter(None, found.groups())) if found else None


def without_class(objection: str) -> str | None:
    """Return the value that should name a class and does not; None for other objections."""
    found = _NO_CLASS.search(objection)
    return found[1] if found else None


def required(objection: str) -> list[str]:
    """Return the options that an objection reports as missing."""
    found = _REQUIRED.search(objection)
    return found[1].split(", ") if found else []
