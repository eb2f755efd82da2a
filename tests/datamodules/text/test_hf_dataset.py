"""Pairs of texts that `datasets` reads are prepared as those in a list."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from datamodules.text.examples import Example
from datamodules.text.hf_dataset import HFDataset
from tests.datamodules.text.counting import Counting, prepare, rows

PAIRS = [Example(source.strip(), references) for source, references in Counting(45).examples("train")]


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The library, with its cache in a folder of the test."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    return library


def columns(pairs: list[Example]) -> dict[str, list[Any]]:
    return {
        "source": [source for source, _ in pairs],
        "target": [references[0] for _, references in pairs],
        "translation": [{"en": source, "de": references[0]} for source, references in pairs],
        "number": list(range(len(pairs))),
    }


@pytest.mark.parametrize("fields", [("source", "target"), ("translation.en", "translation.de")])
def test_training_pairs_and_evaluation_texts_are_those_of_a_list(
    hf: Any, tmp_path: Path, fields: tuple[str, str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, pairs in (("train", PAIRS[:30]), ("validation", PAIRS[30:40]), ("test", PAIRS[40:])):
        hf.Dataset.from_dict(columns(pairs)).to_parquet(str(folder / f"{name}.parquet"))
    task, in_list = HFDataset(str(folder), *fields, prefix="say: "), Counting(45)
    assert list(task.examples("train")) == PAIRS[:30]
    assert [task.examples("val")[number] for number in range(10)] == PAIRS[30:40]
    assert task.path("test") == f"{folder} (test)"
    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        preparation = prepare(cache_dir=cache)
        part = task.training_part(task.examples("train"), 0, preparation)
        expected = in_list.training_part(PAIRS[:30], 0, preparation)
        for number in range(30):
            for ours, theirs in zip(part.pair(1, number), expected.pair(1, number), strict=True):
                assert ours.tolist() == theirs.tolist()
        texts = task.evaluation_texts(task.examples("val"), "val", preparation)
        other = in_list.evaluation_texts(PAIRS[30:40], "val", preparation)
        assert rows(texts.source_ids) == rows(other.source_ids)
        assert (texts.sources, texts.references) == (other.sources, other.references)


def test_what_is_not_there_is_split_off(hf: Any, tmp_path: Path) -> None:
    lines = [json.dumps({"source": source, "target": references[0]}) for source, references in PAIRS]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "all.jsonl").write_text("\n".join(lines))

    def parts(seed: int) -> list[list[Example]]:
        task = HFDataset(str(tmp_path / "set"), val_fraction=0.25, test_fraction=0.2, split_seed=seed)
        return [list(task.examples(split)) for split in ("train", "val", "test")]

    first = parts(0)
    assert [len(part) for part in first] == [27, 9, 9]
    assert sorted(example for part in first for example in part) == sorted(PAIRS)
    assert parts(0) == first
    assert parts(1)[2] != first[2]


def test_mistakes_name_the_field_and_the_row(hf: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "all.parquet")
    hf.Dataset.from_dict(columns(PAIRS) | {"target": ["a", " "] * 22 + ["b"]}).to_parquet(file)
    with pytest.raises(ValueError, match=r"\(train\): no field 'text'; it has 'source', 'target'"):
        HFDataset(file, "text").examples("train")
    options: dict[str, Any] = {"val_fraction": 0.0, "test_fraction": 0.0}
    with pytest.raises(ValueError, match=r"row 1: field 'target' is empty: fill it or remove the row"):
        list(HFDataset(file, **options).examples("train"))
    with pytest.raises(ValueError, match=r"row 0: field 'number' must be text, got 0"):
        list(HFDataset(file, "number", **options).examples("train"))
    with pytest.raises(ValueError, match=r"row 0: field 'translation.fr' is missing; the column has 'en', 'de'"):
        HFDataset(file, "translation.fr", **options).examples("train")[0]
    with pytest.raises(ValueError, match=r"no val split: set val_split to its name, or val_fraction to the fraction"):
        HFDataset(file, **options).examples("val")
    with pytest.raises(FileNotFoundError, match=r"HFDataset: path .*nowhere does not exist"):
        HFDataset(str(tmp_path / "nowhere")).examples("train")


def test_without_the_library_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"needs the library datasets: pip install 'one-for-all\[datasets\]'$"):
        HFDataset(str(tmp_path)).examples("train")
