"""Whole folders or none: interrupted and killed writers, and folders with files of others."""

from pathlib import Path

import pytest

from tests.utils.writers import kill, names, start_inside
from utils.files import atomic_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"

    def write_half() -> None:
        with atomic_folder(target) as folder:
            (folder / "a").write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_half()
    assert names(target.parent) == set()
    with atomic_folder(target) as folder:
        (folder / "a").write_text("whole")
        (folder / "inside").mkdir()
        (folder / "inside" / "b").write_text("too")
        assert not target.exists()
    assert names(target.parent) == {"folder"}
    assert ((target / "a").read_text(), (target / "inside" / "b").read_text()) == ("whole", "too")


def test_a_folder_replaces_one_with_the_same_files_alone(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    for text in ("first", "second"):  # an empty one, and that of the time before
        with atomic_folder(target, replace=text == "second") as folder:
            (folder / "a").write_text(text)
        assert (target / "a").read_text() == text
    with pytest.raises(FileExistsError, match=r"has other files \(a\)"), atomic_folder(target) as folder:
        (folder / "a").write_text("third")
    (target / "mine").touch()
    with (
        pytest.raises(FileExistsError, match=r"has other files \(mine\), which are not replaced"),
        atomic_folder(target, replace=True) as folder,
    ):
        (folder / "a").write_text("third")
    assert (target / "a").read_text() == "second"
    assert names(tmp_path) == {"folder"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_earlier_folder_survives_an_interruption_between_the_two_renames(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "a").write_text("earlier")
    rename = Path.rename

    def interrupted(path: Path, new: Path) -> Path:
        if Path(new) == target and (path / "a").read_text() == "new":
            raise error
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(error), atomic_folder(target, replace=True) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "earlier"
    assert names(tmp_path) == {"folder"}


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    code = """
with atomic_folder(sys.argv[1]) as folder:
    (folder / "a").write_text("half")
    print("inside", flush=True)
    sys.stdin.readline()
"""
    kill(start_inside(code, tmp_path / "folder"))
    assert len(names(tmp_path)) == 1
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("whole")
    assert names(tmp_path) == {"folder"}
