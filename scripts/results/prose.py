"""Figures in prose, checked against the tables of RESULTS.md.

A figure is a number with a decimal point, a percentage, a time in minutes, or a number of millions ("7.6M parameters").
It must be in one of the tables, whose figures are those of the files, in at least as many digits as the prose has.

A figure from another publication needs no file: its sentence names the source, by an arXiv number, an address or
"et al.". Code, versions of a program and bounds (">= 98%") are not figures.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from scripts.results.tables import PLACE

SOURCE = re.compile(r"arXiv:|https?://|github\.com/|et al\.")
SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`*\[])|\|")  # or of the cell of a table
VERSION = re.compile(
    r"\b(?:Python|torch|lightning|transformers|version)\s+\d[\d.]*(?:\s+(?:or|and)\s+\d[\d.]*)*|\d+(?:\.\d+){2,}"
)
BOUND = re.compile(r"[<>]=\s*[\d.,]+\s?(?:%|M\b|min(?:utes)?\b)?")
CODE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)\s]*\)", re.DOTALL)
NUMBER = re.compile(
    r"(?<![\w.,])(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)"
    r"(?:(?P<million>M)\b|\s?(?P<percent>%)|(?P<minutes>[ -]min(?:utes?)?\b))?"
)


class Figure(NamedTuple):
    """A number in a text.

    Args:
        text: As it is written.
        value: Its value.
        half: Half a unit of its last digit: how far the exact figure may differ.
        minutes: Whether it is a time in minutes.
    """

    text: str
    value: float
    half: float
    minutes: bool


def numbers(text: str) -> Iterator[Figure]:
    """Yield all numbers of a text."""
    for found in NUMBER.finditer(text):
        digits = found["digits"].replace(",", "")
        scale = 1e6 if found["million"] else 1.0
        half = 0.5 * scale * 10.0 ** -len(digits.partition(".")[2])
        yield Figure(found[0], float(digits) * scale, half, found["minutes"] is not None)


def figures(text: str) -> Iterator[Figure]:
    """Yield the figures of a text, without those from other publications and without code."""
    for sentence in SENTENCE_END.split(CODE.sub(" ", text)):
        if not SOURCE.search(sentence):
            for number in numbers(BOUND.sub(" ", VERSION.sub(" ", sentence))):
                if "." in number.text or number.minutes or number.text.endswith(("%", "M")):
                    yield number


def tables_and_prose(page: str) -> tuple[str, str]:
    """Return the tables of a page, and the page without them."""
    return "\n".join(found[2] for found in PLACE.finditer(page)), PLACE.sub("", page)


def promise(config: str) -> str:
    """Return the sentence of a config's comment that says what it gives; empty if there is none."""
    comment = " ".join(line.removeprefix("#").strip() for line in config.splitlines() if line.startswith("#"))
    found = re.search(r"Gives\b.*?(?=\.\s|\.?$)", comment)
    return found[0] if found else ""


def citing(page: str, name: str) -> str:
    """Return the sentences of a page that name a file, with the code left out."""
    return "\n\n".join(sentence for sentence in SENTENCE_END.split(page) if name in sentence)


def unsupported(text: str, tables: str) -> list[str]:
    """Return the figures of a text that no table has."""
    known = list(numbers(CODE.sub(" ", tables)))
    return [figure.text for figure in figures(text) if not any(_rounds_to(number, figure) for number in known)]


def _rounds_to(exact: Figure, figure: Figure) -> bool:
    near = abs(exact.value - figure.value) <= figure.half * (1 + 1e-9)
    return near and exact.half <= figure.half and exact.minutes == figure.minutes
