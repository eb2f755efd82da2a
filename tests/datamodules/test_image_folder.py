"""Folders of images: their layouts, splits and classes, and the images to predict."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules.digits import DigitsDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.images.base import ImageDataModule
from datamodules.images.decoding import decode_image
from datamodules.images.image_set import channel_statistics
from tests.datamodules.trainers import fake_trainer

CLASSES = ["cat", "dog", "emu"]


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write_classes(root: Path, number: int) -> None:
    """Write `number` images of one colour per class; the red channel is the class, the green one the image."""
    for label, name in enumerate(CLASSES):
        for image in range(number):
            write_image(root / name / f"{image:02d}.png", (10 * label, image, 7), size=(33 + image, 48))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_classes(tmp_path / "tree", 20)
    return tmp_path / "tree"


def make(root: Path | None, **options: Any) -> ImageFolderDataModule:
    return ImageFolderDataModule(None if root is None else str(root), **{"cache_dir": None} | options)


def test_each_image_of_one_tree_is_in_one_split_with_its_label(tree: Path) -> None:
    module = make(tree, image_size=16, validation_fraction=0.2, test_fraction=0.2)
    module.setup("fit")
    assert module.class_names == CLASSES
    assert module.input_size == 16
    assert module.val_set is not None
    parts = [module.train_set, module.val_set, module.test_set]
    assert [torch.bincount(part.labels).tolist() for part in parts] == [[12, 13, 13], [4, 3, 3], [4, 4, 4]]
    names = [name for part in parts for name in part.names or []]
    assert sorted(names) == sorted(str(path) for path in tree.rglob("*.png"))
    for part in parts:
        for image, label, name in zip(part.images, part.labels, part.names or [], strict=True):
            expected = torch.tensor([10 * int(label), int(Path(name).stem), 7], dtype=torch.uint8).view(3, 1, 1)
            assert torch.equal(image, expected.expand(3, 16, 16))
    assert (module.mean, module.std) == channel_statistics(module.train_set.images)


def test_splits_with_folders_of_their_own_are_not_split_again(tmp_path: Path) -> None:
    for part, number in (("train", 6), ("val", 2), ("test", 3)):
        write_classes(tmp_path / part, number)
    module = make(tmp_path)
    module.setup("fit")
    assert module.val_set is not None
    assert [len(part.images) for part in (module.train_set, module.val_set, module.test_set)] == [18, 6, 9]
    assert all("/test/" in name for name in module.test_set.names or [])
    assert all("/val/" in name for name in module.val_set.names or [])


def test_fractions_of_zero_leave_all_images_for_training(tree: Path) -> None:
    module = make(tree, validation_fraction=0, test_fraction=0)
    module.setup("fit")
    assert len(module.train_set.images) == 60
    assert module.val_dataloader() == []
    with pytest.raises(ValueError, match=r"tree has no test images.*--data.test_fraction"):
        module.test_dataloader()


def test_fractions_that_leave_nothing_for_training_are_named(tmp_path: Path) -> None:
    write_classes(tmp_path, 1)
    with pytest.raises(ValueError, match=r"has no images left for training: lower data.validation_fraction"):
        make(tmp_path, validation_fraction=0.9, test_fraction=0.4).prepare_data()


def test_prepare_data_fills_the_cache_in_a_fit_alone(tree: Path, tmp_path: Path) -> None:
    module = make(tree, cache_dir=str(tmp_path / "cache"))
    module.trainer = fake_trainer(stage="test")
    module.prepare_data()
    assert not (tmp_path / "cache").exists()
    module.trainer = fake_trainer(stage="fit")
    module.prepare_data()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"] * 3  # of each split


def predict_all(module: ImageDataModule) -> tuple[torch.Tensor, list[int], list[str]]:
    batches = list(module.predict_dataloader())
    names = [module.predict_names[number] for batch in batches for number in batch.index.tolist()]
    labels = [label for batch in batches for label in batch.labels.tolist()]
    return torch.cat([batch.images for batch in batches]), labels, names


@pytest.mark.parametrize("make_module", [make, lambda root, **options: DigitsDataModule(**options)])
def test_every_image_below_a_plain_folder_is_predicted_in_order(
    tmp_path: Path, make_module: Callable[..., ImageDataModule]
) -> None:
    names = ["b.png", "a.JPG", "sub/c.bmp", "sub/deeper/a.png", "sub-2/a.png", "Z.webp"]
    for number, name in enumerate(names):
        write_image(tmp_path / name, (number * 10, 0, 0), size=(20 + number, 60))
    module = make_module(None, predict_path=str(tmp_path), eval_batch_size=4)
    images, labels, paths = predict_all(module)
    expected = ["Z.webp", "a.JPG", "b.png", "sub/c.bmp", "sub/deeper/a.png", "sub-2/a.png"]
    assert paths == [str(tmp_path / name) for name in expected]
    assert labels == [-1] * 6
    for image, name in zip(images, expected, strict=True):
        assert (image[0].int() - 10 * names.index(name)).abs().max() <= 3
    assert images.shape == (6, 3, 32, 32)


def test_one_file_is_predicted(tmp_path: Path) -> None:
    write_image(tmp_path / "one.png", (1, 2, 3))
    images, labels, paths = predict_all(make(None, predict_path=str(tmp_path / "one.png")))
    assert (len(images), labels, paths) == (1, [-1], [str(tmp_path / "one.png")])


def test_prediction_uses_class_names_and_image_size_of_the_model(tree: Path) -> None:
    module = make(None, predict_path=str(tree))
    model = SimpleNamespace(class_names=["emu", "ant", "dog"], input_size=48)
    module.trainer = fake_trainer(stage="predict", lightning_module=model)
    images, labels, _ = predict_all(module)
    assert module.predict_classes == ["emu", "ant", "dog"]
    assert images.shape == (60, 3, 48, 48)
    assert labels == [-1] * 20 + [2] * 20 + [0] * 20


def test_testing_uses_class_names_and_image_size_of_the_model(tmp_path: Path) -> None:
    write_classes(tmp_path / "test", 2)
    module = make(tmp_path)
    model = SimpleNamespace(class_names=["emu", "ant", "dog", "cat"], input_size=24)
    module.trainer = fake_trainer(stage="test", lightning_module=model)
    (batch,) = module.test_dataloader()
    assert batch.images.shape == (6, 3, 24, 24)
    assert batch.labels.tolist() == [3, 3, 2, 2, 0, 0]


def test_a_fit_does_not_use_class_names_and_image_size_of_the_model(tree: Path) -> None:
    module = make(tree)
    model = SimpleNamespace(class_names=["emu", "dog", "cat"], input_size=24)
    module.trainer = fake_trainer(stage="fit", lightning_module=model)
    module.setup("fit")
    assert module.class_names == CLASSES
    assert module.train_set.images.shape[2:] == (32, 32)


def test_without_predict_path_the_test_images_are_predicted_by_path(tree: Path) -> None:
    _, labels, paths = predict_all(make(tree))
    assert labels == [CLASSES.index(Path(path).parent.name) for path in paths]
    assert len(paths) == 6


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda root: (root / "cat/00.png").write_bytes(b"not an image"),
            ValueError,
            r"cat/00.png cannot be read as an image",
        ),
        (
            lambda root: (root / "dog/03.png").write_bytes((root / "dog/03.png").read_bytes()[:60]),
            ValueError,
            r"dog/03.png cannot be read as an image",
        ),
        (lambda root: (root / "empty").mkdir(), ValueError, r"empty contains no images"),
        (lambda root: root.rename(root.with_name("moved")), FileNotFoundError, r"data.root .*tree is not a folder"),
        (lambda root: write_image(root / "val/fox/0.png", (0, 0, 0)), ValueError, r"val/fox is not a class"),
    ],
)
def test_bad_folders_are_named_before_training(
    tree: Path, damage: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    damage(tree)
    with pytest.raises(error, match=message) as raised:
        make(tree).prepare_data()
    assert "\n" not in str(raised.value)


def test_a_folder_without_classes_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (0, 0, 0))
    with pytest.raises(ValueError, match="has no class folders"):
        make(tmp_path).prepare_data()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": None}, "data.root is missing"),
        ({"image_size": 0}, "data.image_size must be an integer of at least 1, got 0"),
        ({"validation_fraction": 1.0}, "data.validation_fraction must be a number of at least 0 and below 1, got 1.0"),
        ({"test_fraction": -0.1}, "data.test_fraction must be a number of at least 0 and below 1, got -0.1"),
    ],
)
def test_invalid_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**{"root": Path("x")} | options)


@pytest.mark.parametrize("empty", [True, False])
def test_bad_predict_paths_are_named(tmp_path: Path, empty: bool) -> None:
    path = tmp_path if empty else tmp_path / "missing"
    error, message = (ValueError, "contains no images") if empty else (FileNotFoundError, "does not exist")
    with pytest.raises(error, match=message):
        make(None, predict_path=str(path)).predict_dataloader()


def test_a_broken_image_to_predict_does_not_lose_the_others(tmp_path: Path) -> None:
    for number in range(5):
        write_image(tmp_path / f"{number}.png", (10 * number, 0, 0))
    for broken in (1, 3):
        (tmp_path / f"{broken}.png").write_bytes((tmp_path / f"{broken}.png").read_bytes()[:60])
    module = make(None, predict_path=str(tmp_path), eval_batch_size=2)
    batches = list(module.predict_dataloader())
    assert [batch.index.tolist() for batch in batches] == [[0], [2], [4]]
    assert [batch.images[:, 0, 0, 0].tolist() for batch in batches] == [[0], [20], [40]]
    assert module.predict_names == [str(tmp_path / f"{number}.png") for number in range(5)]
    assert list(module.predict_errors) == [1, 3]


def test_images_to_predict_are_decoded_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counting(path: Path, size: int) -> Tensor:
        decoded.append(path.name)
        return decode_image(path, size)

    for number in range(6):
        write_image(tmp_path / f"{number}.png", (10 * number, 0, 0))
    monkeypatch.setattr("datamodules.images.decoding.decode_image", counting)
    batches = iter(make(None, predict_path=str(tmp_path), eval_batch_size=2).predict_dataloader())
    assert decoded == []
    next(batches)
    assert sorted(decoded) == ["0.png", "1.png"]


def test_nothing_that_can_be_predicted_is_an_error(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"0.png cannot be read .*; none of the 2 files can be read"):
        make(None, predict_path=str(tmp_path)).predict_dataloader()


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_images_whose_names_are_no_utf_8_are_predicted(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (0, 0, 0))
    try:
        (tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system holds UTF-8 alone")
    assert predict_all(make(None, predict_path=str(tmp_path)))[2] == [rf"{tmp_path}/caf\xe9.png"]


def test_a_fit_reports_each_split_and_what_is_skipped_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_classes(tmp_path / "Train", 10)
    write_classes(tmp_path / "valid", 2)
    (tmp_path / "Train/cat/a.HEIC").write_bytes(b"")
    (tmp_path / "valid/dog/00.png").unlink()
    (tmp_path / "valid/dog/01.png").unlink()
    module = make(tmp_path)
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        module.prepare_data()
        module.setup("fit")
    assert caplog.messages == [
        f"training: skipped in {tmp_path}/Train: 1 .heic (`pip install pillow-heif` reads them)",
        f"{tmp_path}/valid/dog contains no images",
        f"training: {tmp_path}/Train, 27 images of 3 classes",
        f"validation: {tmp_path}/valid, 4 images of 2 classes",
        f"test: split off {tmp_path}/Train, 3 images of 3 classes",
    ]


def test_a_class_whose_only_image_is_held_out_is_named(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_image(tmp_path / name / "0.png", (0, 0, 0))
    with pytest.warns(UserWarning, match="no training images are left of cat: add images"):
        make(tmp_path, validation_fraction=0, test_fraction=0.5).setup("fit")


def test_link_loops_add_no_images(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 4)
    (tmp_path / "train/cat/loop").symlink_to(tmp_path / "train")
    (tmp_path / "train/dog/cat").symlink_to(tmp_path / "train/cat")
    (tmp_path / "train/all").symlink_to(tmp_path / "train")
    module = make(tmp_path, test_fraction=0, validation_fraction=0)
    module.setup("fit")
    assert torch.bincount(module.train_set.labels).tolist() == [4, 4, 4]


def test_images_that_do_not_fit_into_memory_stay_on_disk(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = make(tree, validation_fraction=0.2, test_fraction=0.2)
    usual.setup("fit")
    monkeypatch.setattr("datamodules.images.image_cache.memory_bytes", lambda: 100)
    monkeypatch.setattr("datamodules.images.image_cache._AT_ONCE", 7)
    for _ in range(2):  # written, then found
        module = make(tree, cache_dir=str(tmp_path / "cache"), validation_fraction=0.2, test_fraction=0.2)
        module.prepare_data()
        module.setup("fit")
        assert module.val_set is not None and usual.val_set is not None
        for mapped, loaded in (
            (module.train_set, usual.train_set),
            (module.val_set, usual.val_set),
            (module.test_set, usual.test_set),
        ):
            assert torch.equal(mapped.images, loaded.images)
            assert mapped.names == loaded.names and mapped.source == loaded.source
        assert (module.mean, module.std) == (usual.mean, usual.std)
        assert module.test_source() == usual.test_source()
        maps = Path("/proc/self/maps")
        if maps.exists():
            assert str(tmp_path / "cache") in maps.read_text()
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 3
    damaged = bytearray(files[0].read_bytes())
    damaged[-100] ^= 1
    files[0].write_bytes(damaged)
    module = make(tree, cache_dir=str(tmp_path / "cache"), validation_fraction=0.2, test_fraction=0.2)
    assert torch.equal(module.test_set.images, usual.test_set.images)


def test_pixels_may_be_normalised_as_published_weights_want_it(tree: Path) -> None:
    module = make(tree, normalization="imagenet")
    module.setup("fit")
    assert (module.mean, module.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(ValueError, match=r"data.normalization"):
        make(tree, normalization="imagnet")


def test_what_an_epoch_leaves_out_is_said(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    make(tree, validation_fraction=0, test_fraction=0, batch_size=20).setup("fit")
    assert not [line for line in caplog.messages if "each epoch" in line]
    module = make(tree, validation_fraction=0, test_fraction=0, batch_size=16)
    module.setup("fit")
    assert [line for line in caplog.messages if "each epoch leaves out 12 of these images" in line]
    batches = [position for batch in module.train_dataloader() for position in batch.positions.tolist()]
    assert len(set(batches)) == 60 - 12
