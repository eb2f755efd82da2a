"""What `predict` says of an image is what `oneforall predict` writes, whatever form the image has."""

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cli
from oneforall import ImageModel


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return paths


def test_files_have_the_probabilities_of_predict(
    classifier: ImageModel, image_run: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["oneforall"])
    output = tmp_path / "p.csv"
    folder = str(pictures[0].parent)
    cli.main(["predict", "--ckpt_path", str(image_run), "--data.predict_path", folder, "--output", str(output)])
    with output.open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for path, found in zip(pictures, classifier.predict(pictures), strict=True):
        row = rows[str(path)]
        assert found[0].name == row["predicted"]
        assert {each.name for each in found} == set("0123456789")
        assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)
        for each in found:
            assert each.probability == pytest.approx(float(row[f"p_{each.name}"]), rel=1e-4, abs=1e-7)


def test_every_form_of_an_image_gives_the_same(classifier: ImageModel, pictures: list[Path]) -> None:
    path = pictures[0]
    expected = classifier.predict(path)
    array = np.array(Image.open(path))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (str(path), Image.open(path), array, tensor):
        assert classifier.predict(image) == expected
    for batch in ([path], (array,), array[None], tensor[None], [Image.open(path)]):
        assert classifier.predict(batch) == [expected]
    assert classifier.predict([]) == []


def test_many_images_are_read_a_part_at_a_time(
    classifier: ImageModel, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = classifier.predict(pictures)
    sizes: list[int] = []
    classify = classifier.classify
    monkeypatch.setattr("oneforall.image_model.AT_ONCE", 2)

    def counting(images: torch.Tensor) -> Any:
        sizes.append(len(images))
        return classify(images)

    monkeypatch.setattr(classifier, "classify", counting)
    found = classifier.predict(pictures)
    assert [each[0].name for each in found] == [each[0].name for each in expected]
    assert max(sizes) == 2
    assert sum(sizes) == len(pictures)
    assert classifier.predict([]) == []


def test_grey_and_transparent_arrays_are_images_too(classifier: ImageModel) -> None:
    grey = np.full((20, 30), 77, np.uint8)
    expected = classifier.predict(np.stack([grey] * 3, 2))
    assert classifier.predict(grey) == expected
    assert classifier.predict(np.dstack([np.stack([grey] * 3, 2), np.full_like(grey, 255)])) == expected


@pytest.mark.parametrize(
    ("image", "given"),
    [
        (np.zeros((4, 4, 3)), r"float64 \[4, 4, 3\]"),
        (np.zeros((4, 4, 7), np.uint8), r"uint8 \[4, 4, 7\]"),
        (torch.zeros(3, 4, 4), r"float32 \[4, 4, 3\]|torch.float32 \[3, 4, 4\]"),
        ([3], "int"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\]"),
        (np.zeros(5, np.uint8), r"uint8 \[5\]"),
        (b"", "bytes"),  # a sequence of no images to Python
        (b"\x89PNG", "bytes"),
        (io.BytesIO(), "BytesIO"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_named(classifier: ImageModel, image: Any, given: str) -> None:
    with pytest.raises(ValueError, match=rf"an image must be a path, .*got ({given})"):
        classifier.predict(image)


def test_a_truncated_image_of_pillow_is_named_as_a_file_is(classifier: ImageModel, tmp_path: Path) -> None:
    whole, half = io.BytesIO(), tmp_path / "half.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    half.write_bytes(whole.getvalue()[:5000])
    for image in (half, Image.open(half)):
        with pytest.raises(ValueError, match=r"half\.png cannot be read as an image \(OSError: "):
            classifier.predict(image)


def test_a_broken_file_is_an_error_here_and_a_line_there(
    classifier: ImageModel, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        classifier.predict([pictures[0], broken])
    first, second = classifier.predict_readable([pictures[0], broken])
    expected = classifier.predict(pictures[0])
    assert first[0].name == expected[0].name  # type: ignore[union-attr]
    assert first[0].probability == pytest.approx(expected[0].probability)  # type: ignore[union-attr]
    assert isinstance(second, str) and "broken.png cannot be read" in second


def test_probabilities_are_calibrated_by_the_temperature_of_the_checkpoint(
    classifier: ImageModel, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier.module, "temperature", 1.0)
    before = {each.name: each.probability for each in classifier.predict(pictures[0])}
    monkeypatch.setattr(classifier.module, "temperature", 2.0)
    after = {each.name: each.probability for each in classifier.predict(pictures[0])}
    halved = np.array([before[name] for name in after]) ** 0.5  # half the logits
    assert list(after.values()) == pytest.approx(list(halved / halved.sum()), rel=1e-4)
