"""`oneforall classify` answers each image, as bars or as a line of a table, and says which it could not read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line.tools import run_tool
from oneforall import Prediction, load


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two images, one of them in a folder of its own, and a text."""
    draw = np.random.default_rng(0)
    for name in ("a.png", "deeper/b.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    (tmp_path / "pictures" / "notes.txt").write_text("no image")
    return tmp_path / "pictures"


def rows(text: str) -> dict[str, list[Prediction]]:
    """Return the answers of a table by path."""
    cells = [line.split("\t") for line in text.splitlines()]
    return {path: [*map(Prediction, rest[::2], map(float, rest[1::2]))] for path, *rest in cells}


def test_a_line_per_image_has_path_classes_and_probabilities(
    image_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool(["classify", "--ckpt_path", str(image_run), "--top", "3", str(pictures)]) == 0
    found = rows(capsys.readouterr().out)
    assert [*found] == [str(pictures / "a.png"), str(pictures / "deeper" / "b.png")]
    for path, best in found.items():
        expected = load(image_run).predict(path)[:3]
        assert [each.name for each in best] == [each.name for each in expected]
        assert [each.probability for each in best] == pytest.approx([each.probability for each in expected], abs=1e-6)


def test_bars_are_as_long_as_the_probabilities(
    image_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pictures / "a.png"
    assert run_tool(["classify", "--ckpt_path", str(image_run), "--format", "bars", "--top", "2", str(path)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == str(path)
    for line, expected in zip(lines, load(image_run).predict(path)[:2], strict=True):
        name, share, *bar = line.split()
        assert (name, share) == (expected.name, f"{expected.probability:.1%}")
        assert len("".join(bar)) == round(30 * expected.probability)


def test_a_broken_image_is_one_line_and_the_others_are_answered(
    image_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, missing = pictures / "notes.txt", pictures / "missing.png"
    with pytest.raises(SystemExit) as leaving:
        run_tool(["classify", "--ckpt_path", str(image_run), str(broken), str(pictures / "a.png"), str(missing)])
    assert leaving.value.code == 2
    printed = capsys.readouterr()
    assert [*rows(printed.out)] == [str(pictures / "a.png")]
    first, second = printed.err.splitlines()
    assert first.startswith(f"oneforall: error: {broken} cannot be read as an image")
    assert second == f"oneforall: error: {missing} does not exist: check the path"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--top", "0", "a.png"], "--top must be at least 1, got 0"),
        (["empty"], "empty contains no images that can be read"),
    ],
)
def test_mistakes_end_in_one_line(
    image_run: Path,
    args: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run_tool(["classify", "--ckpt_path", str(image_run), *args]) == 2
    assert capsys.readouterr().err == f"oneforall: error: {message}\n"


def test_a_text_model_is_for_another_command(text_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_tool(["classify", "--ckpt_path", str(text_run), "a.png"]) == 2
    assert capsys.readouterr().err.endswith("best.ckpt holds a model for text: use `oneforall translate`\n")
