"""What a test's figures are figures of: the same digest for the same examples, another one for any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.char_text import CharTextDataModule
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.digits import DigitsDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.text.span_corruption import SpanCorruption
from datamodules.text.tasks import MixedTasks, PairedFiles, TableFiles, TextTask
from datamodules.text.toy_tasks import ReverseTask
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from utils.contracts import DataSource


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()


def cifar10(file: Path) -> DataSource:
    return CIFAR10DataModule("nowhere", test_file=str(file), download=False).test_source()


def test_digest_of_images_is_that_of_pixels_labels_and_class_names(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    labels = np.array([0, 1, 2, 9])
    file = tmp_path / "some.npz"
    np.savez(file, images=images, labels=labels)
    first = cifar10(file)
    names = [name.encode() for name in CIFAR10DataModule("nowhere").class_names or []]
    expected = sha256(b"(4, 3, 32, 32)", *names, images.tobytes(), labels.astype("<i8").tobytes())
    assert first == DataSource(str(file), expected, 4)

    labels[0] = 3
    np.savez(file, images=images, labels=labels)
    second = cifar10(file)
    images[3, 2, 31, 31] ^= 1
    np.savez(file, images=images, labels=labels)
    assert len({first.digest, second.digest, cifar10(file).digest}) == 3


def test_the_file_of_the_original_test_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    module = CIFAR10DataModule(str(tmp_path), download=False)
    assert module.test_path() == str(tmp_path / "cifar-10-batches-py" / "test_batch")


def test_digits_are_those_of_a_split(tmp_path: Path) -> None:
    sources = [DigitsDataModule(split_seed=seed).test_source() for seed in (0, 0, 1)]
    assert sources[0] == sources[1]
    assert (sources[0].path, sources[0].examples) == ("digits of scikit-learn", 360)
    assert sources[0].digest != sources[2].digest


def test_a_folder_is_named_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, shade in (("train", 10), ("test", 200)):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (shade,) * 3).save(tmp_path / "photos" / split / name / "0.png")
    monkeypatch.chdir(tmp_path)

    def source() -> DataSource:
        return ImageFolderDataModule("photos", image_size=8, cache_dir=None).test_source()

    first = source()
    assert (first.path, first.examples) == ("photos", 2)
    Image.new("RGB", (8, 8), (7,) * 3).save("photos/train/cat/0.png")
    assert source() == first
    Image.new("RGB", (8, 8), (7,) * 3).save("photos/test/cat/0.png")
    assert source().digest != first.digest


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, content in files.items():
            Path(name).write_text(content, encoding="utf-8")

    return write


def of(task: TextTask) -> DataSource:
    return TextSeq2SeqDataModule(task, cache_dir=None).test_source()


def test_digest_of_texts_is_that_of_prefixes_sources_and_references(write: Callable[..., None]) -> None:
    def pairs(prefix: str = "say: ") -> PairedFiles:
        return PairedFiles("no", "no", "no", "no", "source", "target", prefix=prefix)

    write(source="ä\nb\n", target="c\nd\n")
    first = of(pairs())
    expected = sha256(rb'["say: ", "\u00e4", ["c"]]', b'["say: ", "b", ["d"]]')
    assert first == DataSource("source, target", expected, 2)
    assert of(pairs("")).digest != first.digest
    write(target="c\nD\n")
    assert of(pairs()).digest != first.digest


def test_every_kind_of_task_is_named(write: Callable[..., None]) -> None:
    Path("rows.tsv").write_text("source\ttarget\na\tb\n")
    write(plain="a b c\nd\n")
    table, spans = TableFiles("no", "no", "rows.tsv"), SpanCorruption("no", "no", "plain")
    toy = ReverseTask(num_train=4, num_val=2, num_test=3)
    assert [(of(task).path, of(task).examples) for task in (table, spans, toy)] == [
        ("rows.tsv", 1),
        ("plain", 2),
        ("ReverseTask", 3),
    ]
    mixed = of(MixedTasks([table, spans, table]))
    assert (mixed.path, mixed.examples) == ("rows.tsv; plain", 4)


def test_characters_are_those_at_the_end_of_the_text(write: Callable[..., None]) -> None:
    write(text="0123456789" * 20)
    first = CharTextDataModule("text", test_fraction=0.1).test_source()
    assert first == DataSource("text", sha256(b"0123456789" * 2), None)
    write(text="x123456789" + "0123456789" * 19)
    assert CharTextDataModule("text", test_fraction=0.1).test_source() == first
    assert CharTextDataModule().test_source().path == "pydoc_data.topics"
