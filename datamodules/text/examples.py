"""Examples of a text task, which may stay in files: a million of them take no memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from datamodules.text.lines import Stored


class Example(NamedTuple):
    """A source and the references it may become; training uses one of them, drawn again each time."""

    source: str
    references: tuple[str, ...]


class PairedLines(Stored[Example]):
    """Examples with one reference, such as line n of one file and line n of another with as many lines.

    Args:
        sources: The sources.
        references: The references.
    """

    def __init__(self, sources: Sequence[str], references: Sequence[str]) -> None:
        self.sources = sources
        self.references = references

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.sources)

    def item(self, number: int) -> Example:
        """Return an example."""
        return Example(self.sources[number], (self.references[number],))

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples."""
        for source, reference in zip(self.sources, self.references, strict=True):
            yield Example(source, (reference,))


class PlainTexts(Stored[Example]):
    """Examples without references.

    Args:
        texts: Their sources.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.texts)

    def item(self, number: int) -> Example:
        """Return an example."""
        return Example(self.texts[number], ())

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples."""
        return (Example(text, ()) for text in self.texts)


class Prefixed(Stored[str]):
    """Texts, such as lines, each with the same text before it.

    Args:
        prefix: The text before them.
        lines: The texts.
    """

    def __init__(self, prefix: str, lines: Sequence[str]) -> None:
        self.prefix = prefix
        self.lines = lines

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.lines)

    def item(self, number: int) -> str:
        """Return a line with the text before it."""
        return self.prefix + self.lines[number]

    def __iter__(self) -> Iterator[str]:
        """Yield the lines with the text before them."""
        return (self.prefix + line for line in self.lines)


def source_texts(examples: Sequence[Example], prefix: str) -> Sequence[str]:
    """Return the sources, each with the prefix before it."""
    if isinstance(examples, PairedLines):
        return Prefixed(prefix, examples.sources)
    if isinstance(examples, PlainTexts):
        return Prefixed(prefix, examples.texts)
    return [prefix + example.source for example in examples]


def reference_texts(examples: Sequence[Example]) -> Sequence[str]:
    """Return the references of all examples, those of the first one first."""
    if isinstance(examples, PairedLines):
        return examples.references
    return [reference for example in examples for reference in example.references]


def reference_counts(examples: Sequence[Example]) -> np.ndarray:
    """Return the number of references of each example, int64 [N]."""
    if isinstance(examples, PairedLines):
        return np.ones(len(examples), np.int64)
    return np.array([len(example.references) for example in examples])


def some_of(parts: Sequence[Sequence[Example]]) -> Iterator[Example]:
    """Yield some five hundred to a thousand examples, or all if there are fewer, evenly spaced over all parts."""
    total = sum(map(len, parts))
    step, skipped = total // 1000 + 1, 0
    for part in parts:
        yield from (part[number] for number in range(-skipped % step, len(part), step))
        skipped += len(part)
