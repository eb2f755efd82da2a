"""Generated texts in a report: examples with their differences marked, and lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reports.charts import Chart, length_chart
from reports.word_diff import WordDiff, word_diff

FIRST, WORST = 30, 20
"""Numbers of examples that are shown: the first of the test, and those least like their references."""
MAX_EXAMINED = 3000
"""Number of examples among which the worst are sought: comparing texts takes time."""
MAX_LENGTH = 1500
"""Maximum length of a text that is shown, in characters."""


class Example(NamedTuple):
    """A test example.

    Attributes:
        place: Its number in the test, counted from 0.
        source: The source, without prefix.
        diff: The reference that is most like the output, and the output.
        score: Score of the output by the model; None if unknown.
    """

    place: int
    source: str
    diff: WordDiff
    score: float | None


class Examples(NamedTuple):
    """Test examples to show.

    Attributes:
        first: Those at the beginning.
        worst: Those least like their references, the worst first.
        total: Number of all examples.
        exact: Number of outputs that equal a reference.
        lengths: Chart of lengths.
    """

    first: list[Example]
    worst: list[Example]
    total: int
    exact: int
    lengths: Chart


def read_examples(test_outputs: Path) -> Examples | None:
    """Return the examples to show from a `test_outputs.jsonl`; None if it is empty.

    Raises:
        ValueError: It is damaged.
    """
    rows = list(_rows(test_outputs))
    if not rows:
        return None
    examined = [_example(row) for row in rows[:MAX_EXAMINED]]
    unlike = sorted((each for each in examined if each.diff.equality < 1), key=lambda each: each.diff.equality)
    exact = sum(row["hypothesis"] in row["references"] for row in rows)
    return Examples(examined[:FIRST], unlike[:WORST], len(rows), exact, _lengths(rows))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                row = {
                    "index": int(row["index"]),
                    "source": str(row["source"]),
                    "references": [str(each) for each in row["references"]] or [""],
                    "hypothesis": str(row["hypothesis"]),
                    "score": row.get("score"),
                }
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
                raise ValueError(f"{path} line {number} is damaged; repeat the test") from error
            yield row


def _example(row: dict[str, Any]) -> Example:
    hypothesis = row["hypothesis"][:MAX_LENGTH]
    diffs = [word_diff(reference[:MAX_LENGTH], hypothesis) for reference in row["references"]]
    best = max(diffs, key=lambda diff: diff.equality)
    score = row["score"]
    return Example(row["index"], row["source"][:MAX_LENGTH], best, score if isinstance(score, float | int) else None)


def _lengths(rows: list[dict[str, Any]]) -> Chart:
    """Return the chart of lengths: in words, or in characters where texts are single words or have no spaces."""
    texts = {
        "reference": [row["references"][0] for row in rows],
        "output": [row["hypothesis"] for row in rows],
        "source": [row["source"] for row in rows],
    }
    has_words = all(sum(len(text.split()) for text in each) >= 2 * len(each) for each in texts.values())
    unit = "words" if has_words else "characters"
    lengths = {label: [len(text.split()) if has_words else len(text) for text in each] for label, each in texts.items()}
    return length_chart(unit, lengths)
