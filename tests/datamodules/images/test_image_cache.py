"""The cache of resized images."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from datamodules.images import decoding
from datamodules.images.decoding import decode_image
from datamodules.images.image_cache import cached_images
from datamodules.images.listing import list_images


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_the_cache_is_used_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    for number in range(3):
        write_image(folder / f"{number}.png", (number, 0, 0))
    decoded: list[str] = []

    def counted(path: Path, size: int) -> torch.Tensor:
        decoded.append(path.name)
        return decode_image(path, size)

    monkeypatch.setattr(decoding, "decode_image", counted)

    def load() -> tuple[list[int], int]:
        decoded.clear()
        reds = cached_images(list_images(folder).paths, 8, folder, cache)[:, 0, 0, 0].tolist()
        return reds, len(decoded)

    assert load() == ([0, 1, 2], 3)
    assert load() == ([0, 1, 2], 0)
    write_image(folder / "1.png", (200, 0, 0), size=(41, 41))
    assert load() == ([0, 200, 2], 3)
    write_image(folder / "3.png", (3, 0, 0))
    assert load() == ([0, 200, 2, 3], 4)
    (only,) = cache.iterdir()  # those out of date are removed
    only.write_bytes(only.read_bytes()[:-10])
    assert load() == ([0, 200, 2, 3], 4)
    assert load() == ([0, 200, 2, 3], 0)
    assert cached_images(list_images(folder).paths, 16, folder, cache).shape == (4, 3, 16, 16)
    assert load() == ([0, 200, 2, 3], 0)  # another size has another file


def test_a_cache_that_cannot_be_written_only_warns(tmp_path: Path) -> None:
    write_image(tmp_path / "images/0.png", (9, 0, 0))
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be written"):
        images = cached_images(list_images(tmp_path / "images").paths, 8, tmp_path / "images", tmp_path / "cache")
    assert images[0, 0, 0, 0] == 9


def test_a_file_of_the_same_size_and_time_with_other_content_is_noticed(tmp_path: Path) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    write_image(folder / "0.bmp", (1, 0, 0))
    old = (folder / "0.bmp").stat()
    assert cached_images([folder / "0.bmp"], 8, folder, cache)[0, 0, 0, 0] == 1
    write_image(folder / "0.bmp", (2, 0, 0))
    os.utime(folder / "0.bmp", ns=(old.st_atime_ns, old.st_mtime_ns))  # as an archive or `cp -p` does
    assert (folder / "0.bmp").stat().st_size == old.st_size
    assert cached_images([folder / "0.bmp"], 8, folder, cache)[0, 0, 0, 0] == 2


def test_a_full_disk_is_an_error_before_the_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reserve(file: int, start: int, size: int) -> None:
        assert size >= 3 * 8 * 8
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder, cache = tmp_path / "images", tmp_path / "cache"
    write_image(folder / "0.png", (1, 0, 0))
    monkeypatch.setattr("datamodules.images.image_cache.memory_bytes", lambda: 100)
    monkeypatch.setattr("os.posix_fallocate", reserve)
    with pytest.raises(OSError, match=r"cannot be written: .*free"):
        cached_images([folder / "0.png"], 8, folder, cache)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("processes", [1, 2])
def test_each_process_has_its_own_images_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    folder, cache = tmp_path / "images", tmp_path / "cache"
    write_image(folder / "0.png", (1, 0, 0))
    monkeypatch.setattr("datamodules.images.image_cache.memory_bytes", lambda: 4 * 3 * 8 * 8)
    mapped: list[Path] = []
    monkeypatch.setattr("datamodules.images.image_cache._reserve", mapped.append)
    cached_images([folder / "0.png"], 8, folder, cache, processes=processes)
    assert len(mapped) == processes - 1


def test_a_damaged_cache_is_written_again(tmp_path: Path) -> None:
    folder, cache = tmp_path / "images[1]", tmp_path / "cache"
    write_image(folder / "0.png", (1, 0, 0))
    cached_images([folder / "0.png"], 8, folder, cache)
    (only,) = cache.iterdir()
    content = bytearray(only.read_bytes())
    content[-50] ^= 255
    only.write_bytes(content)
    assert cached_images([folder / "0.png"], 8, folder, cache)[0, 2].unique().tolist() == [0]
    write_image(folder / "1.png", (2, 0, 0))
    cached_images([folder / "0.png", folder / "1.png"], 8, folder, cache)
    assert len(list(cache.iterdir())) == 1
