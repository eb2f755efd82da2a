"""Texts to evaluate of several tasks, in turn or one task after the other."""

from __future__ import annotations

import numpy as np

from datamodules.text.evaluation_texts import EvaluationTexts, join_texts
from datamodules.text.token_table import TokenTable
from tests.datamodules.text.counting import rows


def texts(letter: str, number: int, token: int) -> EvaluationTexts:
    sources = [f"{letter}{place}" for place in range(number)]
    return EvaluationTexts(
        TokenTable.of([[token, place, 1] for place in range(number)]),
        TokenTable.of([[place, token, 1] for place in range(number)]),
        sources,
        [(source.upper(),) for source in sources],
        np.arange(number),
    )


PARTS = [texts("a", 2, 10), texts("b", 4, 20), texts("c", 1, 30)]


def by_place(joined: EvaluationTexts) -> list[str]:
    assert sorted(joined.places.tolist()) == list(range(7))
    return [joined.sources[number] for number in np.argsort(joined.places)]


def test_tasks_follow_one_another() -> None:
    assert by_place(join_texts(PARTS, interleave=False)) == ["a0", "a1", "b0", "b1", "b2", "b3", "c0"]


def test_tasks_take_turns() -> None:
    assert by_place(join_texts(PARTS, interleave=True)) == ["a0", "b0", "c0", "a1", "b1", "b2", "b3"]


def test_ids_sources_and_references_stay_together() -> None:
    tokens = {"a": 10, "b": 20, "c": 30}
    for interleave in (False, True):
        joined = join_texts(PARTS, interleave=interleave)
        assert joined.references == [(source.upper(),) for source in joined.sources]
        assert rows(joined.source_ids) == [[tokens[source[0]], int(source[1]), 1] for source in joined.sources]
        assert rows(joined.target_ids) == [[int(source[1]), tokens[source[0]], 1] for source in joined.sources]
