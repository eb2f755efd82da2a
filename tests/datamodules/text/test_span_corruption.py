"""Span corruption against the paper's own example, and against putting the text together again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.text.span_corruption import SpanCorruption, random_spans, replace_spans
from utils.random_streams import numpy_generator

SENTINELS = list(range(9999, 9599, -1))


def task(**options: float) -> SpanCorruption:
    return SpanCorruption("train.txt", "val.txt", **options)  # type: ignore[arg-type]


def test_the_example_of_figure_2() -> None:
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    mask = np.array([word in ("for", "inviting", "last") for word in words])
    ids, names = np.arange(len(words)), {9999: "<X>", 9998: "<Y>", 9997: "<Z>"}

    def text(row: np.ndarray) -> str:
        return " ".join(names.get(number) or words[number] for number in row.tolist())

    assert text(replace_spans(ids, mask, SENTINELS)) == "Thank you <X> me to your party <Y> week ."
    assert text(replace_spans(ids, ~mask, SENTINELS)) == "<X> for inviting <Y> last <Z>"


def restored(source: list[int], target: list[int]) -> list[int]:
    """The text from which both were made: each sentinel of the source replaced by what follows it in the target."""
    kept: dict[int, list[int]] = {}
    for token in target:
        if token in SENTINELS:
            kept[token] = []
            last = token
        else:
            kept[last].append(token)
    return [token for place in source for token in (kept.get(place, [place]))]


@pytest.mark.parametrize("length", [2, 3, 5, 20, 143, 568])
@pytest.mark.parametrize("options", [{}, {"noise_density": 0.5, "mean_span_length": 1.0}, {"noise_density": 0.9}])
def test_the_text_can_be_put_together_again(length: int, options: dict[str, float]) -> None:
    spans = task(**options)
    ids = np.arange(100, 100 + length, dtype=np.int32)
    for position in range(20):
        source, target = spans.corrupt(ids, SENTINELS, 1, numpy_generator(3, position))
        assert (len(source), len(target)) == spans.corrupted_lengths(length)
        assert source[-1] == target[-1] == 1 and source.dtype == np.int32
        assert restored(source[:-1].tolist(), target[:-1].tolist()) == ids.tolist()
        used = [token for token in source.tolist() if token in SENTINELS]
        assert used == SENTINELS[: len(used)] == [token for token in target.tolist() if token in SENTINELS]
        assert len(used) == spans.span_counts(length)[1]


def test_lengths_are_those_of_the_paper() -> None:
    # Section 3.1.4 and the published code: 568 tokens give 512 of input and 114 of target.
    assert task().corrupted_lengths(568) == (512, 114)
    assert task().segment_length(512, 114) == 568
    assert task().segment_length(512, 999) == 568
    assert task().segment_length(999, 114) >= 568
    for limits in ((512, 113), (511, 114), (30, 30), (3, 3)):
        length = task().segment_length(*limits)
        assert all(size <= limit for size, limit in zip(task().corrupted_lengths(length), limits, strict=True))
        assert any(size > limit for size, limit in zip(task().corrupted_lengths(length + 1), limits, strict=True))


def test_spans_fall_everywhere_and_have_the_mean_length() -> None:
    masks = np.stack([random_spans(100, 15, 5, numpy_generator(0, number)) for number in range(2000)])
    assert (masks.sum(1) == 15).all()
    starts = masks[:, 1:] & ~masks[:, :-1]
    assert (starts.sum(1) == 5).all() and not masks[:, 0].any() and masks[:, -1].all()
    shares = masks[:, 5:80].mean(0)
    assert shares.min() > 0.1 and shares.max() < 0.2
    lengths = [len(run) for mask in masks for run in "".join("x" if taken else " " for taken in mask).split()]
    # Divisions of 15 into 5 parts, all as likely: a part is 1 with probability C(13, 3) / C(14, 4).
    assert abs(np.mean(np.array(lengths) == 1) - 286 / 1001) < 0.02


def test_lines_are_read_and_impossible_arguments_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one\n\n \ntwo\n")
    (tmp_path / "blank").write_text("\n \n")
    spans = SpanCorruption(str(tmp_path / "text"), str(tmp_path / "blank"))
    assert [example.source for example in spans.examples("train")] == ["one", "two"]
    with pytest.raises(ValueError, match=r"val: .*blank has only empty lines"):
        spans.examples("val")
    with pytest.raises(ValueError, match="no test data: set test "):
        spans.examples("test")
    with pytest.raises(ValueError, match=r"noise_density is 1\.0"):
        task(noise_density=1.0)
    with pytest.raises(ValueError, match=r"mean_span_length is 0\.5"):
        task(mean_span_length=0.5)
    with pytest.raises(ValueError, match="needs room"):
        task().segment_length(2, 20)
