"""Span corruption against the example of the paper, and against restoring the text."""

from __future__ import annotations

import tracemalloc
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.text import lines, token_cache
from datamodules.text.epoch_plan import TrainingPlan
from datamodules.text.preparation import Preparation
from datamodules.text.span_corruption import Segments, SpanCorruption, random_spans, replace_spans
from datamodules.text.tokenizer import train_tokenizer
from datamodules.text.training_pairs import Draws, TrainingPart
from tests.datamodules.text.counting import TOKENIZER, prepare, rows

SENTINELS = list(range(9999, 9599, -1))


def task(**options: Any) -> SpanCorruption:
    return SpanCorruption("train.txt", "val.txt", **options)


def generator(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def test_the_example_of_figure_2() -> None:
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    mask = np.array([word in ("for", "inviting", "last") for word in words])
    ids, names = np.arange(len(words)), {9999: "<X>", 9998: "<Y>", 9997: "<Z>"}

    def text(row: np.ndarray) -> str:
        return " ".join(names.get(number) or words[number] for number in row.tolist())

    assert text(replace_spans(ids, mask, SENTINELS)) == "Thank you <X> me to your party <Y> week ."
    assert text(replace_spans(ids, ~mask, SENTINELS)) == "<X> for inviting <Y> last <Z>"


def restore(source: list[int], target: list[int], sentinels: list[int]) -> list[int]:
    """Return the text that both were made from: the source, each sentinel replaced by its span in the target."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in sentinels:
            spans[token] = []
            last = token
        else:
            spans[last].append(token)
    return [token for place in source for token in spans.get(place, [place])]


@pytest.mark.parametrize("length", [2, 3, 5, 20, 143, 568])
@pytest.mark.parametrize("options", [{}, {"noise_density": 0.5, "mean_span_length": 1.0}, {"noise_density": 0.9}])
def test_the_text_can_be_restored(length: int, options: dict[str, float]) -> None:
    spans = task(**options)
    ids = np.arange(100, 100 + length, dtype=np.int32)
    for number in range(20):
        source, target = spans.corrupt(ids, SENTINELS, 1, generator(number))
        assert (len(source), len(target)) == spans.corrupted_lengths(length)
        assert source[-1] == target[-1] == 1
        assert source.dtype == np.int32
        assert restore(source[:-1].tolist(), target[:-1].tolist(), SENTINELS) == ids.tolist()
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


def test_spans_are_anywhere_and_have_the_mean_length() -> None:
    masks = np.stack([random_spans(100, 15, 5, generator(number)) for number in range(2000)])
    assert (masks.sum(1) == 15).all()
    starts = masks[:, 1:] & ~masks[:, :-1]
    assert (starts.sum(1) == 5).all()
    assert not masks[:, 0].any()
    assert masks[:, -1].all()
    shares = masks[:, 5:80].mean(0)
    assert shares.min() > 0.1
    assert shares.max() < 0.2
    lengths = [len(run) for mask in masks for run in "".join("x" if removed else " " for removed in mask).split()]
    # All divisions of 15 into 5 parts are equally probable: a part is 1 with probability C(13, 3) / C(14, 4).
    assert abs(np.mean(np.array(lengths) == 1) - 286 / 1001) < 0.02


def test_lines_are_read_and_blank_ones_skipped(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one\n\n \ntwo\n")
    (tmp_path / "blank").write_text("\n \n")
    spans = SpanCorruption(str(tmp_path / "text"), str(tmp_path / "blank"))
    assert [example.source for example in spans.examples("train")] == ["one", "two"]
    assert [spans.examples("train")[number].source for number in (0, 1, -1)] == ["one", "two", "two"]
    with pytest.raises(ValueError, match=r"val: .*blank contains only blank lines"):
        spans.examples("val")
    with pytest.raises(ValueError, match="no test data: set test "):
        spans.examples("test")


def test_invalid_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"SpanCorruption: noise_density must be .* above 0 and below 1, got 1\.0"):
        task(noise_density=1.0)
    with pytest.raises(ValueError, match=r"SpanCorruption: mean_span_length must be .* at least 1, got 0\.5"):
        task(mean_span_length=0.5)
    with pytest.raises(ValueError, match="must be at least 3 for SpanCorruption, got 2 and 20"):
        task().segment_length(2, 20)


# --- preparation ---------------------------------------------------------------------------------------------------

LINES = [f"say: {number} x x" for number in range(80)]


def corruption(folder: Path, texts: list[str] = LINES, **options: Any) -> SpanCorruption:
    (folder / "text").write_text("\n\n".join(texts))
    return SpanCorruption(str(folder / "text"), str(folder / "text"), **{"mean_span_length": 1.0} | options)


def stream(texts: list[str]) -> list[int]:
    return [token for line in texts for token in TOKENIZER.encode(line).ids[:-1]]


SENTINEL_IDS = [TOKENIZER.token_to_id(f"<extra_id_{number}>") or 0 for number in range(20)]


def test_segments_of_training_are_the_text_and_as_long_as_fits(tmp_path: Path) -> None:
    spans = corruption(tmp_path, weight=0.5)
    part = spans.training_part(spans.examples("train"), 0, prepare())
    assert part.weight == 0.5
    pairs = [part.pair(0, position) for position in range(len(part))]
    segments = [restore(source[:-1].tolist(), target[:-1].tolist(), SENTINEL_IDS) for source, target in pairs]
    text = stream(LINES)
    found = [token for segment in segments for token in segment]
    assert found == text[: len(found)]
    assert len(text) - len(found) <= 1  # one token left over cannot be corrupted
    longest = spans.segment_length(24, 16)
    assert {len(segment) for segment in segments[:-1]} == {longest}
    positions = np.arange(len(part))
    sources, targets = part.lengths(Draws(positions * 0, positions))
    assert sources.tolist() == [len(source) for source, _ in pairs]
    assert targets.tolist() == [len(target) for _, target in pairs]


def test_training_spans_depend_only_on_seed_task_cycle_and_position(tmp_path: Path) -> None:
    spans = corruption(tmp_path)

    def sources(cycle: int = 0, seed: int = 5, number: int = 0) -> list[list[int]]:
        part = spans.training_part(spans.examples("train"), number, prepare(seed=seed))
        return [part.pair(cycle, position)[0].tolist() for position in range(len(part))]

    different = [sources(), sources(cycle=1), sources(seed=6), sources(number=1)]
    assert sources() == different[0]
    for one, other in permutations(different, 2):
        assert sum(first == second for first, second in zip(one, other, strict=True)) < len(one) / 4
    masks = {tuple(token in SENTINEL_IDS for token in source) for source in different[0]}
    assert len(masks) > len(different[0]) / 2


def test_evaluation_spans_are_the_same_for_every_seed(tmp_path: Path) -> None:
    spans = corruption(tmp_path)
    texts = [spans.evaluation_texts(spans.examples("val"), "val", prepare(seed=seed)) for seed in (5, 6)]
    assert rows(texts[0].source_ids) == rows(texts[1].source_ids)
    assert rows(texts[0].target_ids) == rows(texts[1].target_ids)
    first = texts[0]
    pairs = list(zip(rows(first.source_ids), rows(first.target_ids), strict=True))
    found = [token for source, target in pairs for token in restore(source[:-1], target[:-1], SENTINEL_IDS)]
    assert found == stream(LINES)[: len(found)]
    masks = {tuple(token in SENTINEL_IDS for token in source) for source, _ in pairs}
    assert len(masks) > len(pairs) / 2
    assert all("<extra_id_0>" in source for source in first.sources)
    assert all(reference.startswith("<extra_id_0>") for (reference,) in first.references)
    assert np.array_equal(first.places, np.arange(len(pairs)))


def pairs_of(part: TrainingPart) -> list[tuple[list[int], list[int]]]:
    pairs = (part.pair(1, position) for position in range(len(part)))
    return [(source.tolist(), target.tolist()) for source, target in pairs]


def test_tokens_in_a_file_and_in_memory_are_the_same(tmp_path: Path) -> None:
    spans = corruption(tmp_path)
    in_memory, written, read = (
        spans.training_part(spans.examples("train"), 0, prepare(cache_dir=folder))
        for folder in (None, str(tmp_path / "cache"), str(tmp_path / "cache"))
    )
    assert isinstance(read, Segments)
    assert pairs_of(in_memory) == pairs_of(written) == pairs_of(read)
    owner = read.segments.ids
    while owner.base is not None and not isinstance(owner, np.memmap):
        owner = owner.base
    assert isinstance(owner, np.memmap)  # the system reads of the file what is used


def test_memory_holds_neither_text_nor_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further line takes some bytes, for its numbers; its text takes 110, and its tokens take 90."""
    monkeypatch.setattr(token_cache, "_CHUNK", 200)
    monkeypatch.setattr(lines, "_BLOCK", 4096)
    monkeypatch.setattr(lines, "_LINES", 200)

    def peak(size: int) -> int:
        folder = tmp_path / str(size)
        folder.mkdir()
        text = [" ".join(f"say: {number} x" for number in range(place % 7, place % 7 + 13)) for place in range(size)]
        spans = corruption(folder, text)
        preparation = prepare(cache_dir=str(folder / "cache"))
        tracemalloc.start()
        part = spans.training_part(spans.examples("train"), 0, preparation)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(part) > size
        return highest

    few, many = 400, 6_000
    assert peak(many) - peak(few) < 100 * (many - few)


def test_an_epoch_from_a_file_has_each_segment_once_at_any_world_size_and_resumes_exactly(tmp_path: Path) -> None:
    spans = corruption(tmp_path)
    cached = prepare(cache_dir=str(tmp_path / "cache"))

    def plan(world_size: int) -> TrainingPlan:  # made anew, as a resumed run does
        return TrainingPlan([spans.training_part(spans.examples("train"), 0, cached)], 160, 4, 5, world_size)

    for world_size in (1, 2, 3):
        for epoch in (0, 1):
            steps = plan(world_size).epoch(epoch).steps
            ranks = [np.concatenate([step[rank::world_size] for step in steps]) for rank in range(world_size)]
            found = plan(world_size).pairs(epoch, np.concatenate(ranks))
            part = plan(1).parts[0]
            expected = [part.pair(epoch, position) for position in range(len(part))]
            assert sorted(map(str, found)) == sorted(map(str, expected))
    whole, resumed = plan(2), plan(2)
    for step in whole.epoch(0).steps:
        whole.pairs(0, step)
    went_on = [whole.pairs(1, step) for step in whole.epoch(1).steps]
    left = resumed.epoch(1).steps[len(went_on) // 2 :]
    assert str([resumed.pairs(1, step) for step in left]) == str(went_on[len(went_on) // 2 :])


def test_too_few_sentinels_are_named(tmp_path: Path) -> None:
    spans = corruption(tmp_path)
    preparation: Preparation = prepare(tokenizer=train_tokenizer(LINES, 400, "bpe", 1))
    with pytest.raises(ValueError, match=r"SpanCorruption needs 3 sentinels .* has 1: set data.num_sentinels"):
        spans.training_part(spans.examples("train"), 0, preparation)


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_one_token_that_is_left_over_is_skipped(tmp_path: Path, extra: int) -> None:
    spans = corruption(tmp_path, ["x"] * (2 * task(mean_span_length=1.0).segment_length(24, 16) + extra))
    part = spans.training_part(spans.examples("train"), 0, prepare())
    assert len(part) == (3 if extra == 2 else 2)


def test_a_text_of_one_token_is_an_error(tmp_path: Path) -> None:
    spans = corruption(tmp_path, ["x"])
    with pytest.raises(ValueError, match="the text has fewer than two tokens"):
        spans.training_part(spans.examples("train"), 0, prepare())
