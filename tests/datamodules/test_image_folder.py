"""Image folders: odd sizes and modes, splits, the cache, and the order of predictions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import image_files
from datamodules.digits import DigitsDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.images.base import channel_statistics
from datamodules.images.files import cached_images, decode_image, find_images

CLASSES = ["cat", "dog", "emu"]


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write_classes(root: Path, number: int) -> None:
    """`number` one-coloured images a class; the red channel tells the class, the green the image."""
    for label, name in enumerate(CLASSES):
        for image in range(number):
            write_image(root / name / f"{image:02d}.png", (10 * label, image, 7), size=(33 + image, 48))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_classes(tmp_path / "tree", 20)
    return tmp_path / "tree"


def make(root: Path | None, **options) -> ImageFolderDataModule:
    return ImageFolderDataModule(None if root is None else str(root), **({"cache_dir": None} | options))


def test_each_image_of_a_single_tree_lands_in_one_split_with_its_label(tree: Path) -> None:
    module = make(tree, image_size=16, validation_fraction=0.2, test_fraction=0.2)
    module.setup("fit")
    assert module.class_names == CLASSES and module.input_size == 16
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


def test_folders_of_their_own_are_not_split_again(tmp_path: Path) -> None:
    for part, number in (("train", 6), ("val", 2), ("test", 3)):
        write_classes(tmp_path / part, number)
    module = make(tmp_path)
    module.setup("fit")
    assert module.val_set is not None
    assert [len(part.images) for part in (module.train_set, module.val_set, module.test_set)] == [18, 6, 9]
    assert all("/test/" in name for name in module.test_set.names or [])


def test_fractions_of_zero_leave_all_images_to_training(tree: Path) -> None:
    module = make(tree, validation_fraction=0, test_fraction=0)
    module.setup("fit")
    assert len(module.train_set.images) == 60 and module.val_dataloader() == []
    with pytest.raises(ValueError, match=r"no test images.*--data.test_fraction"):
        module.test_dataloader()


def test_modes_become_the_rgb_they_show(tmp_path: Path) -> None:
    red = (200, 30, 90)
    rgb = Image.new("RGB", (50, 20), red)
    palette = Image.new("P", (9, 70))
    palette.putpalette([*red, 1, 2, 3])
    transparent = palette.copy()
    transparent.info["transparency"] = 0
    sixteen = Image.fromarray(np.full((20, 30), 200 * 257, dtype=np.uint16))
    half_clear = Image.new("RGBA", (31, 64), (0, 0, 0, 128))
    cases = {
        "rgb.png": (rgb, red),
        "rgb.jpg": (rgb, red),
        "cmyk.jpg": (rgb.convert("CMYK"), red),
        "palette.png": (palette, red),
        "clear.png": (transparent, (255, 255, 255)),
        "half.png": (half_clear, (127, 127, 127)),
        "grey.png": (Image.new("L", (1, 1), 77), (77, 77, 77)),
        "grey_alpha.png": (Image.new("LA", (5, 500), (77, 255)), (77, 77, 77)),
        "bits.png": (Image.new("1", (8, 8), 1), (255, 255, 255)),
        "sixteen.png": (sixteen, (200, 200, 200)),
        "sixteen.tiff": (sixteen, (200, 200, 200)),
        "float.tiff": (Image.new("F", (10, 10), 0.5), (128, 128, 128)),
        "moving.gif": (palette, red),
    }
    for name, (image, colour) in cases.items():
        image.save(tmp_path / name)
        decoded = decode_image(tmp_path / name, 32)
        assert decoded.shape == (3, 32, 32) and decoded.dtype == torch.uint8
        error = (decoded.int() - torch.tensor(colour).view(3, 1, 1)).abs().max()
        assert error <= (4 if name.endswith("jpg") else 1), (name, decoded[:, 0, 0])


def test_the_centred_square_is_kept(tmp_path: Path) -> None:
    pixels = np.zeros((32, 96, 3), dtype=np.uint8)
    pixels[:, 32:64] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(decode_image(tmp_path / "wide.png", 32).permute(1, 2, 0).numpy(), pixels[:, 32:64])


def test_orientation_tags_are_obeyed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(decode_image(tmp_path / "turned.png", 32).permute(1, 2, 0).numpy(), pixels[::-1, ::-1])


def test_the_cache_is_used_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    for number in range(3):
        write_image(folder / f"{number}.png", (number, 0, 0))
    decoded: list[str] = []
    original = image_files.decode_image

    def counted(path: Path, size: int) -> torch.Tensor:
        decoded.append(path.name)
        return original(path, size)

    monkeypatch.setattr(image_files, "decode_image", counted)

    def load() -> list[int]:
        decoded.clear()
        return cached_images(find_images(folder), 8, folder, cache)[:, 0, 0, 0].tolist()

    assert load() == [0, 1, 2] and len(decoded) == 3
    assert load() == [0, 1, 2] and not decoded
    write_image(folder / "1.png", (200, 0, 0), size=(41, 41))
    assert load() == [0, 200, 2] and len(decoded) == 3
    write_image(folder / "3.png", (3, 0, 0))
    assert load() == [0, 200, 2, 3] and len(decoded) == 4
    (only,) = cache.iterdir()  # the stale ones are gone
    only.write_bytes(only.read_bytes()[:-10])
    assert load() == [0, 200, 2, 3] and len(decoded) == 4
    assert load() == [0, 200, 2, 3] and not decoded


def test_an_unwritable_cache_only_warns(tmp_path: Path) -> None:
    write_image(tmp_path / "images/0.png", (9, 0, 0))
    (tmp_path / "cache").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be written"):
        images = cached_images(find_images(tmp_path / "images"), 8, tmp_path / "images", tmp_path / "cache")
    assert images[0, 0, 0, 0] == 9


def predict_all(module: ImageFolderDataModule | DigitsDataModule) -> tuple[torch.Tensor, list[int], list[str]]:
    batches = list(module.predict_dataloader())
    index = torch.cat([batch[2] for batch in batches]).tolist()
    images, labels = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    return images, labels.tolist(), [module.predict_names[number] for number in index]


@pytest.mark.parametrize("make_module", [make, lambda root, **options: DigitsDataModule(**options)])
def test_every_image_below_a_plain_folder_is_predicted_in_order(tmp_path: Path, make_module) -> None:
    names = ["b.png", "a.JPG", "sub/c.bmp", "sub/deeper/a.png", "sub-2/a.png", "Z.webp"]
    for number, name in enumerate(names):
        write_image(tmp_path / name, (number * 10, 0, 0), size=(20 + number, 60))
    (tmp_path / "notes.txt").write_text("no image")
    write_image(tmp_path / ".hidden.png", (0, 0, 0))
    write_image(tmp_path / ".thumbnails/a.png", (0, 0, 0))
    module = make_module(None, predict_path=str(tmp_path), eval_batch_size=4)
    images, labels, paths = predict_all(module)
    expected = ["Z.webp", "a.JPG", "b.png", "sub/c.bmp", "sub/deeper/a.png", "sub-2/a.png"]
    assert paths == [str(tmp_path / name) for name in expected]
    assert labels == [-1] * 6
    for image, name in zip(images, expected, strict=True):
        assert (image[0].int() - 10 * names.index(name)).abs().max() <= 3
    assert images.shape == (6, 3, 32, 32)


def test_a_single_file_is_predicted(tmp_path: Path) -> None:
    write_image(tmp_path / "one.png", (1, 2, 3))
    images, labels, paths = predict_all(make(None, predict_path=str(tmp_path / "one.png")))
    assert (len(images), labels, paths) == (1, [-1], [str(tmp_path / "one.png")])


def attach(module: ImageFolderDataModule, stage: str, **attributes) -> None:
    trainer = SimpleNamespace(
        lightning_module=SimpleNamespace(**attributes),
        state=SimpleNamespace(fn=stage),
        global_rank=0,
        world_size=1,
    )
    module.trainer = trainer  # type: ignore[assignment]


def test_class_names_and_size_of_the_model_hold_for_prediction(tree: Path) -> None:
    module = make(None, predict_path=str(tree))
    attach(module, "predict", class_names=["emu", "ant", "dog"], input_size=48)
    images, labels, _ = predict_all(module)
    assert module.predict_classes == ["emu", "ant", "dog"]  # what the labels count
    assert images.shape == (60, 3, 48, 48)
    assert labels == [-1] * 20 + [2] * 20 + [0] * 20


def test_class_names_and_size_of_the_model_hold_for_testing(tmp_path: Path) -> None:
    write_classes(tmp_path / "test", 2)
    module = make(tmp_path)
    attach(module, "test", class_names=["emu", "ant", "dog", "cat"], input_size=24)
    (batch,) = module.test_dataloader()
    assert batch[0].shape == (6, 3, 24, 24)
    assert batch[1].tolist() == [3, 3, 2, 2, 0, 0]


def test_without_predict_path_the_test_images_are_predicted_by_path(tree: Path) -> None:
    module = make(tree)
    _, labels, paths = predict_all(module)
    assert labels == [CLASSES.index(Path(path).parent.name) for path in paths] and len(paths) == 6


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda root: (root / "cat/00.png").write_bytes(b"no image"),
            ValueError,
            r"cat/00.png cannot be read as an image",
        ),
        (
            lambda root: (root / "dog/03.png").write_bytes((root / "dog/03.png").read_bytes()[:60]),
            ValueError,
            r"dog/03.png cannot be read as an image",
        ),
        (lambda root: (root / "empty").mkdir(), ValueError, r"empty holds no images"),
        (lambda root: root.rename(root.with_name("moved")), FileNotFoundError, r"data.root .*tree is not a folder"),
        (lambda root: write_image(root / "val/fox/0.png", (0, 0, 0)), ValueError, r"val/fox is no class"),
    ],
)
def test_bad_folders_are_named_before_training(tree: Path, damage, error: type[Exception], message: str) -> None:
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
        ({"image_size": 0}, "image_size is 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**({"root": Path("x")} | options))


@pytest.mark.parametrize("empty", [True, False])
def test_bad_predict_paths_are_named(tmp_path: Path, empty: bool) -> None:
    path = tmp_path if empty else tmp_path / "missing"
    with pytest.raises(
        ValueError if empty else FileNotFoundError, match="holds no images" if empty else "does not exist"
    ):
        make(None, predict_path=str(path)).predict_dataloader()
