"""Strict reading of YAML files: a mistake that YAML itself accepts is refused, with its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""Keys of a mapping that stands for an object."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file, which must be a mapping.

    Raises:
        ValueError: It is empty, not a mapping, not valid YAML or not UTF-8, it has a key twice, or keys of a class
            beside its `init_args`; the message names file and line.
    """
    root = _compose(path)
    if root is None:
        raise ValueError(
            f"config {path} is empty; leave it out, or write settings such as `trainer: {{max_epochs: 3}}`"
        )
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"config {path}, line {_line(root)}: expected `key: value` lines, such as `trainer:`")
    for node in mappings(root):
        _check_keys(path, node)
        _check_class(path, node)
    with _explained(path):
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def line_of(path: Path, name: str) -> int | None:
    """Return the line, counted from 1, on which a YAML file last has `name`, as a key or as a value; None without it.

    Args:
        path: The file.
        name: A key, a scalar value, or keys with dots between them, of which the last one counts.
    """
    last = name.rsplit(".", 1)[-1]
    root = _compose(path)
    lines = [_line(node) for node in _nodes(root) if isinstance(node, yaml.ScalarNode) and node.value in (name, last)]
    return max(lines, default=None)


def empty_key_before(path: Path, name: str) -> tuple[str, int] | None:
    """Return the key without a value, and its line, that precedes `name` at the same depth; None without one.

    A line that has lost its indentation is such a `name`, as `max_epochs` after an empty `trainer:`.
    """
    for node in mappings(_compose(path)):
        empty: tuple[str, int] | None = None
        for key, value in node.value:
            if key.value == name and empty:
                return empty
            if _is_empty(value):
                empty = (str(key.value), _line(key))
    return None


def mappings(root: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Yield every mapping of a document, the outer ones first."""
    return (node for node in _nodes(root) if isinstance(node, yaml.MappingNode))


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield a node and all nodes in it, once each (anchors may lead to one twice)."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)


def _compose(path: Path) -> yaml.Node | None:
    with _explained(path):
        node: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        return node


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn syntax errors of a file into a ValueError that says what to do, in one line."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"config {path} is not valid YAML: it is not UTF-8 text ({error})") from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"config {path} is not valid YAML, {_explain(path, error)}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"config {path} is not valid YAML: {error}") from error


def _explain(path: Path, error: yaml.MarkedYAMLError) -> str:
    """Return the line of a syntax error, what is wrong there, and what was likely meant."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return str(error)
    lines = path.read_text(encoding="utf-8").splitlines()
    text = lines[mark.line] if mark.line < len(lines) else ""
    problem = error.problem or str(error)
    if re.match(r" *\t", text):
        what = "the line is indented with a tab; use spaces"
    elif problem.startswith("mapping values are not allowed"):
        what = _explain_colon(lines, mark.line, mark.column)
    elif problem.startswith("expected <block end>"):
        what = (
            f"`{text.strip()}` is indented by {_depth(text)} spaces, which matches no key above it; give all keys of a "
            "block the same indentation"
        )
    elif text.strip():
        what = f"{problem}: `{text.strip()}`"
    else:
        what = f"{problem}; a bracket or quote above is not closed"
    return f"line {mark.line + 1}: {what}"


def _explain_colon(lines: list[str], number: int, column: int) -> str:
    """Return what a colon is doing where YAML expects none: a line too deep, or one above without a colon."""
    text = lines[number]
    above = next((index for index in range(number - 1, -1, -1) if lines[index].strip()), None)
    if above is None or ":" in text[:column]:
        return f"quote a value that has a colon in it: `{text.strip()}`"
    before = f"line {above + 1}, `{lines[above].strip()}`,"
    if _depth(text) <= _depth(lines[above]):
        return f"{before} has no colon"
    return (
        f"`{text.strip()}` is indented deeper than {before} which already has a value; indent it by "
        f"{_depth(lines[above])} spaces"
    )


def _check_keys(path: Path, node: yaml.MappingNode) -> None:
    """Raise ValueError if a key occurs twice: YAML would take the last one and forget the others."""
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else None
        if name in lines:
            raise ValueError(
                f"config {path}, line {_line(key)}: the key {name} is already in line {lines[name]}; "
                "keep one of the two, or merge what is below them"
            )
        if name is not None:
            lines[name] = _line(key)


def _check_class(path: Path, node: yaml.MappingNode) -> None:
    """Raise ValueError if an argument of a class is beside its `class_path` and not in its `init_args`."""
    keys = {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    strays = [key for name, (key, _) in keys.items() if name.rstrip("+") not in CLASS_KEYS and name != "<<"]
    if "init_args" in keys and not (
        isinstance(keys["init_args"][1], yaml.MappingNode) or _is_null(keys["init_args"][1])
    ):
        raise ValueError(f"config {path}, line {_line(keys['init_args'][0])}: init_args must have `name: value` lines")
    if "class_path" not in keys or not strays:
        return
    if "init_args" in keys and not _is_empty(keys["init_args"][1]):
        fix = f"indent it like the others in `init_args:` (line {_line(keys['init_args'][0])})"
    elif "init_args" in keys:
        fix = f"indent it so that it is in `init_args:` (line {_line(keys['init_args'][0])})"
    else:
        fix = f"write `init_args:` and, indented below it, `{strays[0].value}`"
    raise ValueError(
        f"config {path}, line {_line(strays[0])}: {strays[0].value} is beside the class_path "
        f"{keys['class_path'][1].value}; {fix}"
    )


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _depth(line: str) -> int:
    """Return the column of a line's key, after the `- ` of a list."""
    return len(line) - len(line.lstrip(" -"))
