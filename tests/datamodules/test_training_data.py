"""Whether the data of a resumed run are those that its checkpoint was trained on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datamodules.char_text import CharTextDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.text.tasks import PairedFiles
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from utils.contracts import IdentifiesTrainingData


def images(folder: Path) -> ImageFolderDataModule:
    return ImageFolderDataModule(str(folder / "images"), image_size=8, cache_dir=None)


def text(folder: Path) -> CharTextDataModule:
    return CharTextDataModule(str(folder / "train.en"), sequence_length=5, batch_size=2)


def pairs(folder: Path) -> TextSeq2SeqDataModule:
    files = [str(folder / f"{split}.{side}") for split in ("train", "val") for side in ("en", "de")]
    return TextSeq2SeqDataModule(PairedFiles(*files))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "a" / "images" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8)).save(tmp_path / "a" / "images" / name / f"{number}.png")
    for split in ("train", "val"):
        for side in ("en", "de"):
            (tmp_path / "a" / f"{split}.{side}").write_text("".join(f"line {n} of {side}\n" for n in range(50)))
    return tmp_path / "a"


def add_image(folder: Path) -> None:
    shutil.copy(folder / "images" / "cat" / "0.png", folder / "images" / "cat" / "9b.png")


def rename_image(folder: Path) -> None:
    (folder / "images" / "cat" / "3.png").rename(folder / "images" / "cat" / "33.png")


def edit(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace("line 7 ", "LINE 7 "))


@pytest.mark.parametrize(
    ("make", "changes"),
    [(images, (add_image, rename_image)), (text, (edit("train.en"),)), (pairs, (edit("train.de"), edit("val.en")))],
)
def test_moved_data_are_the_same_and_changed_data_are_not(data, tmp_path, make, changes):
    before = make(data)
    assert isinstance(before, IdentifiesTrainingData)
    identity = before.training_data()
    shutil.copytree(data, tmp_path / "elsewhere")
    assert make(tmp_path / "elsewhere").training_data() == identity
    for number, change in enumerate(changes):
        shutil.copytree(data, tmp_path / str(number))
        change(tmp_path / str(number))
        assert make(tmp_path / str(number)).training_data() != identity
