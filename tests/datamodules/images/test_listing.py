"""The image files of a folder: endings, links, hidden files, and what is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from datamodules.images.listing import describe_skipped, list_images

RED = (200, 30, 90)


def write_image(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_images_are_found_below_a_folder_in_order_except_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.bmp", "sub/deeper/a.png", "sub-2/a.png", "Z.webp"):
        write_image(tmp_path / name, RED)
    (tmp_path / "notes.txt").write_text("not an image")
    write_image(tmp_path / ".hidden.png", RED)
    write_image(tmp_path / ".thumbnails/a.png", RED)
    expected = ["Z.webp", "a.JPG", "b.png", "sub/c.bmp", "sub/deeper/a.png", "sub-2/a.png"]
    assert list_images(tmp_path).paths == [tmp_path / name for name in expected]


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing is not a folder"):
        list_images(tmp_path / "missing")


def test_endings_in_any_case_and_images_without_one_are_read_and_others_counted(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for name in ("b.jfif", "c.JPE", "d.AVIF", "e"):
        (tmp_path / name).write_bytes(content)
    for name in ("1.HEIC", "2.heic", "notes.txt", "LICENSE", "empty", "._a.png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    write_image(tmp_path / "__MACOSX/a.png")
    paths, skipped = list_images(tmp_path)
    assert [path.name for path in paths] == ["a.png", "b.jfif", "c.JPE", "d.AVIF", "e"]
    kinds = {".heic": 2, ".txt": 1, ".db": 1, "without an extension": 2, "hidden": 1, "__MACOSX/": 1}
    assert skipped == kinds
    assert describe_skipped(skipped).startswith("2 .heic (`pip install pillow-heif` reads them), 2 without an ext")


def test_links_are_followed_once_and_loops_are_skipped(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    for number in range(3):
        write_image(root / f"cat/{number}.png")
        write_image(root / f"dog/{number}.png")
        write_image(outside / f"{number}.png")
    links = {"up": root, "around": tmp_path, "self": root / "cat", "dog": root / "dog", "one": outside, "two": outside}
    for name, target in links.items():
        (root / "cat" / name).symlink_to(target)
    (outside / "back").symlink_to(root / "cat")
    (root / "cat/same.png").symlink_to(root / "cat/0.png")
    (root / "cat/itself").symlink_to(root / "cat/itself")
    (root / "cat/gone.png").symlink_to(root / "nowhere.png")  # named by whoever decodes it
    paths, skipped = list_images(root / "cat", within=root)
    assert len(paths) == 3 + 3 + 1
    assert {path.name for path in paths} == {"0.png", "1.png", "2.png", "gone.png"}
    assert skipped["links to folders of the data set itself"] == 5
    assert skipped["repeated links"] == 1
    assert skipped["links to files that are already read"] == 1


def test_links_into_hidden_folders_of_the_data_set_are_read(tmp_path: Path) -> None:
    """As git-annex and DVC keep large files."""
    write_image(tmp_path / ".git/objects/key.png")
    (tmp_path / "a.png").symlink_to(tmp_path / ".git/objects/key.png")
    assert list_images(tmp_path).paths == [tmp_path / "a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    assert list_images(tmp_path).paths == []
