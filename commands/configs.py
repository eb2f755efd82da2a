"""List the shipped configs, each with the first line of its description.

Any of them can be passed by the name that is listed: oneforall fit --config NAME
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from command_line.configs import SHIPPED

EXAMPLES = ("oneforall configs", "oneforall configs cifar10")


def add_arguments(parser: ArgumentParser) -> None:
    """Add which configs to list."""
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only those with this word in their name")


def run(options: Namespace) -> None:
    """Print the list.

    Raises:
        ValueError: No config has the word in its name.
    """
    found = [path for path in shipped() if options.word in path.relative_to(SHIPPED).as_posix()]
    if not found:
        raise ValueError(f"no shipped config has {options.word} in its name; `oneforall configs` lists them all")
    print(*lines(found), sep="\n")


def shipped() -> list[Path]:
    """Return the shipped configs: those that train something first, then the presets to add to them."""
    presets = ("trainer", "logger", "sweeps")
    return sorted(SHIPPED.rglob("*.yaml"), key=lambda path: (path.parent.name in presets, path.parent.name, path.name))


def lines(configs: list[Path]) -> Iterator[str]:
    """Yield a line per config: its name and its promise."""
    names = [path.relative_to(SHIPPED).as_posix() for path in configs]
    width = max(map(len, names)) + 2
    for name, path in zip(names, configs, strict=True):
        yield f"{name:<{width}}{promise(path)}"


def promise(config: Path) -> str:
    """Return the first line of the comment that a config begins with, without `# `."""
    first, *_ = config.read_text(encoding="utf-8").splitlines() or [""]
    return first.removeprefix("#").strip()
