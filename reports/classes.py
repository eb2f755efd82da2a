"""Confusions and scores per class of a classifier, for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_CLASSES = 30
"""Number of classes up to which the whole matrix is shown."""
MAX_CONFUSIONS = 20
"""Number of the most frequent confusions that are listed."""


class ClassScores(NamedTuple):
    """Scores of one class, from 0 to 1; None where they are undefined.

    Attributes:
        name: The class.
        examples: Number of examples of the class.
        recall: Share of its examples that were predicted correctly.
        precision: Share of the predictions of this class that were correct.
        f1: Harmonic mean of precision and recall.
    """

    name: str
    examples: int
    recall: float | None
    precision: float | None
    f1: float | None


class Confusions(NamedTuple):
    """Confusions of a validation or a test.

    Attributes:
        of: Name of the evaluation, such as `test`.
        classes: Names of the classes.
        counts: How often each true class (row) was predicted as each class (column); empty with many classes.
        pairs: True class, predicted class and count of the most frequent confusions.
        scores: Scores of each class.
    """

    of: str
    classes: list[str]
    counts: list[list[int]]
    pairs: list[tuple[str, str, int]]
    scores: list[ClassScores]


def confusions_of(data: Mapping[str, Any]) -> Confusions:
    """Return the confusions in the content of a `confusion_matrix.json`.

    Raises:
        ValueError: A cell does not have three numbers, or its class has no name.
    """
    classes = [str(name) for name in data["classes"]]
    cells = [(int(true), int(predicted), int(count)) for true, predicted, count in data["cells"]]
    number = len(classes)
    if any(not 0 <= place < number for cell in cells for place in cell[:2]):
        raise ValueError(f"it counts classes that are not among its {number}")
    counts = [[0] * number for _ in range(number)] if number <= MAX_CLASSES else []
    hits, examples, answers = [0] * number, [0] * number, [0] * number
    for true, predicted, count in cells:
        examples[true] += count
        answers[predicted] += count
        hits[true] += count if true == predicted else 0
        if counts:
            counts[true][predicted] = count
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])
    pairs = [(classes[true], classes[predicted], count) for true, predicted, count in wrong[:MAX_CONFUSIONS]]
    return Confusions(str(data["of"]), classes, counts, pairs, _scores(classes, hits, examples, answers))


def _scores(
    classes: Sequence[str], hits: Sequence[int], examples: Sequence[int], answers: Sequence[int]
) -> list[ClassScores]:
    return [
        ClassScores(
            name,
            examples[place],
            hits[place] / examples[place] if examples[place] else None,
            hits[place] / answers[place] if answers[place] else None,
            2 * hits[place] / (examples[place] + answers[place]) if examples[place] + answers[place] else None,
        )
        for place, name in enumerate(classes)
    ]
