"""Image files: sizes, modes, tags, and files that cannot be decoded."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.images.decoding import decode_image, decode_images, decode_readable


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


RED = (200, 30, 90)
RGB = Image.new("RGB", (50, 20), RED)
PALETTE = Image.new("P", (9, 70))
PALETTE.putpalette([*RED, 1, 2, 3])
TRANSPARENT = PALETTE.copy()
TRANSPARENT.info["transparency"] = 0
SIXTEEN_BITS = Image.fromarray(np.full((20, 30), 200 * 257, dtype=np.uint16))


@pytest.mark.parametrize(
    ("name", "image", "colour"),
    [
        ("rgb.png", RGB, RED),
        ("rgb.jpg", RGB, RED),
        ("cmyk.jpg", RGB.convert("CMYK"), RED),
        ("palette.png", PALETTE, RED),
        ("transparent.png", TRANSPARENT, (255, 255, 255)),
        ("half.png", Image.new("RGBA", (31, 64), (0, 0, 0, 128)), (127, 127, 127)),
        ("grey.png", Image.new("L", (1, 1), 77), (77, 77, 77)),
        ("grey_alpha.png", Image.new("LA", (5, 500), (77, 255)), (77, 77, 77)),
        ("bits.png", Image.new("1", (8, 8), 1), (255, 255, 255)),
        ("sixteen.png", SIXTEEN_BITS, (200, 200, 200)),
        ("sixteen.tiff", SIXTEEN_BITS, (200, 200, 200)),
        ("float.tiff", Image.new("F", (10, 10), 0.5), (128, 128, 128)),
        ("float_255.tiff", Image.new("F", (10, 10), 128.0), (128, 128, 128)),
        ("animated.gif", PALETTE, RED),
    ],
)
def test_every_mode_becomes_the_rgb_it_shows(
    tmp_path: Path, name: str, image: Image.Image, colour: tuple[int, int, int]
) -> None:
    image.save(tmp_path / name)
    decoded = decode_image(tmp_path / name, 32)
    assert decoded.shape == (3, 32, 32)
    assert decoded.dtype == torch.uint8
    error = (decoded.int() - torch.tensor(colour).view(3, 1, 1)).abs().max()
    assert error <= (4 if name.endswith("jpg") else 1), decoded[:, 0, 0]


def test_the_centred_square_is_kept(tmp_path: Path) -> None:
    pixels = np.zeros((32, 96, 3), dtype=np.uint8)
    pixels[:, 32:64] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(decode_image(tmp_path / "wide.png", 32).permute(1, 2, 0).numpy(), pixels[:, 32:64])


def test_orientation_tags_are_applied(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "rotated.png", exif=exif)
    assert np.array_equal(decode_image(tmp_path / "rotated.png", 32).permute(1, 2, 0).numpy(), pixels[::-1, ::-1])


@pytest.mark.parametrize("length", [None, 60])
def test_files_that_cannot_be_decoded_are_named_in_one_line(tmp_path: Path, length: int | None) -> None:
    write_image(tmp_path / "good.png", RED)
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(b"not an image" if length is None else whole[:length])
    with pytest.raises(ValueError, match=r"bad.png cannot be read as an image \(") as raised:
        decode_images([tmp_path / "good.png", tmp_path / "bad.png"], 8)
    assert "\n" not in str(raised.value)


def test_several_files_that_cannot_be_decoded_are_all_named(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", RED)
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    with pytest.raises(ValueError, match=r"1.png cannot .*the file is empty.*; 1 more cannot be read: .*2.png$"):
        decode_images(paths, 8)
    images, errors = decode_readable(paths, 8)
    assert images[:, 0, 0, 0].tolist() == [200, 0, 0]
    assert list(errors) == [1, 2]


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff"])
def test_odd_tags_beside_the_orientation_do_not_matter(tmp_path: Path, kind: str) -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    exif[0x0110] = "model"
    content = exif.tobytes()
    # The tag of the model with a type that does not exist, a count and a place far outside
    odd = content.replace(b"\x10\x01\x02\x00", b"\x10\x01\x99\x00").replace(b"\x01\x10\x00\x02", b"\x01\x10\x00\x99")
    assert odd != content
    path = tmp_path / f"odd.{kind}"
    Image.fromarray(pixels).save(path, exif=exif if kind == "tiff" else odd)
    decoded = decode_image(path, 32)
    assert decoded[:, :16].min() > 250
    assert decoded[:, 16:].max() < 5


def test_tags_that_cannot_be_read_leave_the_image_as_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "a.png", exif=b"Exif\x00\x00no tags")
    assert decode_image(tmp_path / "a.png", 8)[0].unique().tolist() == [200]


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "bomb.png", RED, (100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"bomb.png cannot be read as an image \(DecompressionBombError"):
        decode_images([tmp_path / "bomb.png"], 8)


def test_images_that_would_start_another_program_are_refused(tmp_path: Path) -> None:
    RGB.save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png cannot be read.*its format is not known"):
        decode_image(tmp_path / "a.png", 8)


@pytest.mark.parametrize(("bits", "photometric", "expected"), [(16, 1, 1), (16, 0, 254)])
def test_dark_and_inverted_sixteen_bits(tmp_path: Path, bits: int, photometric: int, expected: int) -> None:
    """A dark image stays dark, whatever its highest value; "white is zero" is a negative."""
    image = Image.fromarray(np.full((8, 8), 255, dtype=np.uint16))
    image.save(tmp_path / "a.tiff", tiffinfo={262: photometric})
    image.save(tmp_path / "a.pgm")
    assert decode_image(tmp_path / "a.tiff", 8).unique().tolist() == [expected]
    assert decode_image(tmp_path / "a.pgm", 8).unique().tolist() == [1]


def test_unsigned_tiffs_of_32_bits_are_not_black(tmp_path: Path) -> None:
    pixels = np.repeat(np.array([[0, 3_000_000_000]], dtype=np.uint32), 8, 0).repeat(4, 1)
    Image.fromarray(pixels.view(np.int32)).save(tmp_path / "a.tiff")
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, kind) for kind in (2, 1))  # the tag SampleFormat
    content = (tmp_path / "a.tiff").read_bytes()
    assert content.count(signed) == 1
    (tmp_path / "a.tiff").write_bytes(content.replace(signed, unsigned))
    decoded = decode_image(tmp_path / "a.tiff", 8)
    assert decoded[:, :, 0].unique().tolist() == [0] and decoded[:, :, -1].unique().tolist() == [255]


def test_a_panorama_and_a_single_pixel(tmp_path: Path) -> None:
    write_image(tmp_path / "wide.png", RED, (10000, 50))
    write_image(tmp_path / "one.png", RED, (1, 1))
    assert decode_images([tmp_path / "wide.png", tmp_path / "one.png"], 8)[:, 0].unique().tolist() == [200]


def test_images_are_decoded_in_inference_mode_too(tmp_path: Path) -> None:
    """As in `predict`; the mode belongs to one thread."""
    write_image(tmp_path / "0.png", RED)
    with torch.inference_mode():
        assert decode_images([tmp_path / "0.png"], 8)[0, 0].unique().tolist() == [200]
