"""List the shipped configs, each with the first sentence of its description.

Any of them can be passed by the name that is listed: oneforall fit --config NAME
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from command_line.configs import SHIPPED
from utils.natural_order import natural_key

EXAMPLES = ("oneforall configs", "oneforall configs cifar10")

TRAINS, PRESETS = "Training configs (oneforall fit --config NAME):", "Presets, to add to one of them (--config NAME):"
SPACES = "Search spaces (oneforall sweep CONFIG NAME):"
"""Headings of the list."""

NETWORK_OR_BASE = re.compile(r"^(model:\n +class_path:|base:)", re.MULTILINE)
"""What a config has that trains on its own: a model, or another config that it changes."""

FIELD_OR_PROGRAM = re.compile(r"^(\w+\.[\w.]+|program):", re.MULTILINE)
"""What a search space has and no config: a field with dots or, for Weights & Biases, a program."""

SENTENCE = re.compile(r"(.+?(?<!\bal)[.!?][\")]?)(?= |$)")
"""The first sentence of a text. `et al. 2020` does not end it."""

LEAST_WIDTH = 28
"""Minimum width of a description in columns, even in a narrow terminal."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the argument that chooses which configs to list."""
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only those with this word in the name")


def run(options: Namespace) -> None:
    """Print the list.

    Raises:
        ValueError: No config has the word in its name.
    """
    found = [path for path in shipped() if options.word in name_of(path)]
    if not found:
        raise ValueError(f"no shipped config has {options.word} in its name; `oneforall configs` lists them all")
    # A program that reads the list gets one line per config
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(*lines(found, width), sep="\n")


def name_of(config: Path) -> str:
    """Return the name by which a shipped config is passed, such as `cifar10/resnet20.yaml`."""
    return config.relative_to(SHIPPED).as_posix()


def shipped() -> list[Path]:
    """Return the shipped configs: the quickstart first, then all others in natural order."""
    return sorted(
        SHIPPED.rglob("*.yaml"), key=lambda path: (path.parent.name != "quickstart", natural_key(name_of(path)))
    )


def lines(configs: list[Path], width: int | None) -> Iterator[str]:
    """Yield the list: what trains, search spaces and presets, under a heading each, with the promise of each config.

    Args:
        configs: The configs.
        width: Columns of the terminal, in which promises are wrapped; if None, each has one line.
    """
    column = max(len(name_of(path)) for path in configs) + 4
    texts = {path: path.read_text(encoding="utf-8") for path in configs}
    groups = {TRAINS: [path for path in configs if NETWORK_OR_BASE.search(texts[path])]}
    groups[SPACES] = [path for path in configs if FIELD_OR_PROGRAM.search(texts[path])]
    groups[PRESETS] = [path for path in configs if path not in groups[TRAINS] + groups[SPACES]]
    gap = ""
    for heading, group in groups.items():
        if group:
            yield f"{gap}{heading}"
            gap = "\n"
        for path in group:
            first, *others = _wrapped(promise(texts[path]), width and max(width - column, LEAST_WIDTH))
            yield f"  {name_of(path):<{column - 2}}{first}".rstrip()
            yield from (f"{'':{column}}{line}" for line in others)


def promise(text: str) -> str:
    """Return the first sentence of the comment that a config begins with; empty if it begins with none."""
    comment = re.match(r"(#[^\n]*\n)*", text)
    words = " ".join(line.lstrip("#").strip() for line in (comment[0] if comment else "").splitlines())
    sentence = SENTENCE.match(words)
    return sentence[1] if sentence else words


def _wrapped(text: str, width: int | None) -> list[str]:
    return (textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) if width else [text]) or [""]
