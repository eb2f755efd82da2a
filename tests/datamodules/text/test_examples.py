"""Examples that stay in their files are prepared as those in a list."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from datamodules.text import lines, token_cache
from datamodules.text.examples import Example, reference_counts, reference_texts, some_of, source_texts
from datamodules.text.lines import open_lines
from datamodules.text.tasks import PairedFiles, TextTask
from datamodules.text.training_pairs import TrainingPart
from datamodules.text.word_encoding import WordEncoder
from tests.datamodules.text.counting import Counting, prepare


def paired(folder: Path, size: int, prefix: str = "say: ") -> tuple[PairedFiles, list[Example]]:
    """Return a task whose examples are in files, and the same examples in a list."""
    examples = [Example(source.strip(), references) for source, references in Counting(size).examples("train")]
    files = [str(folder / name) for name in ("source", "target")]
    Path(files[0]).write_text("".join(f"{example.source}\n" for example in examples))
    Path(files[1]).write_text("".join(f"{example.references[0]}\n" for example in examples))
    return PairedFiles(*files, *files, prefix=prefix), examples


def test_texts_and_counts_are_those_of_a_list(tmp_path: Path) -> None:
    task, examples = paired(tmp_path, 45)
    stored = task.examples("train")
    assert list(stored) == examples
    assert list(source_texts(stored, "say: ")) == source_texts(examples, "say: ")
    assert source_texts(stored, "say: ")[7] == source_texts(examples, "say: ")[7]
    assert list(reference_texts(stored)) == reference_texts(examples)
    assert reference_counts(stored).tolist() == reference_counts(examples).tolist() == [1] * 45
    assert reference_counts([Example("a", ("b", "c")), Example("d", ())]).tolist() == [2, 0]


@pytest.mark.parametrize(
    "changes", [{}, {"max_source_length": 12}, {"max_source_length": 12, "over_length": "drop"}, {"bpe_dropout": 0.2}]
)
@pytest.mark.filterwarnings("ignore:train")
def test_training_pairs_are_those_of_a_list(tmp_path: Path, changes: dict[str, object]) -> None:
    task, examples = paired(tmp_path, 45)
    in_list: TextTask = Counting(45)

    def pairs(part: TrainingPart) -> list[list[int]]:
        return [side.tolist() for number in range(len(part)) for side in part.pair(1, number)]

    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        preparation = prepare(cache_dir=cache, **changes)
        stored = task.training_part(task.examples("train"), 0, preparation)
        expected = in_list.training_part(examples, 0, prepare(**changes))
        assert pairs(stored) == pairs(expected)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("sizes", [(), (0,), (5,), (999, 1, 0, 3), (1000, 1500), (2500, 7, 3000)])
def test_some_are_every_nth_of_all_parts(sizes: tuple[int, ...]) -> None:
    parts = [[Example(f"{part} {number}", ()) for number in range(size)] for part, size in enumerate(sizes)]
    joined = [example for part in parts for example in part]
    assert list(some_of(parts)) == [joined[k] for k in range(0, len(joined), len(joined) // 1000 + 1)]


def test_memory_does_not_hold_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further pair takes a hundred bytes, for its numbers; its texts as a list would take three hundred."""
    monkeypatch.setattr(token_cache, "_CHUNK", 500)
    monkeypatch.setattr(lines, "_BLOCK", 4096)
    monkeypatch.setattr(token_cache, "WordEncoder", partial(WordEncoder, kept=500))  # nearly all words are numbers

    def peak(size: int) -> int:
        folder = tmp_path / str(size)
        folder.mkdir()
        task, _ = paired(folder, size)
        preparation = prepare(cache_dir=str(folder / "cache"), max_source_length=99, max_target_length=99)
        tracemalloc.start()
        part = task.training_part(task.examples("train"), 0, preparation)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(part) == size
        return highest

    few, many = 500, 20_000
    assert peak(many) - peak(few) < 120 * (many - few)


def test_numbers_of_lines_are_not_the_sizes_of_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a" * 10_000 + "\nb\n")
    assert len(open_lines(str(tmp_path / "file"), "x")) == 2
    assert np.array_equal(open_lines(str(tmp_path / "file"), "x")._bounds, [0, 10_001, 10_003])
