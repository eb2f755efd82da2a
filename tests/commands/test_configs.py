"""`oneforall configs` lists every shipped config."""

from pathlib import Path

import pytest

from command_line.tools import run_tool
from commands.configs import PRESETS, SPACES, TRAINS, lines, promise, shipped

CONFIGS = Path(__file__).parents[2] / "configs"


def listed(text: str) -> dict[str, str]:
    """The promise of each config, by its name."""
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))


def test_every_shipped_config_is_listed_with_its_first_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs"]) == 0
    found = listed(capsys.readouterr().out)
    assert set(found) == {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert found["cifar10/resnet20.yaml"] == "ResNet-20 on CIFAR-10, full length: 200 epochs."
    assert found["t5/pretrain.yaml"] == "Span-corruption pre-training of a small T5, version 1.1, on plain text."


def test_what_trains_comes_before_the_presets_in_natural_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs"]) == 0
    first, spaces, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith(f"{TRAINS}\n  quickstart/images.yaml ")
    assert second.startswith(f"{PRESETS}\n")
    assert {"cifar10/short.yaml", "trainer/ddp.yaml", "logger/wandb.yaml"} <= set(listed(second))
    assert spaces.startswith(f"{SPACES}\n")
    assert set(listed(spaces)) == {"sweeps/lr_and_decay.yaml", "sweeps/wandb.yaml"}
    networks = [name for name in listed(first) if "resnet" in name]
    assert networks == [f"cifar10/resnet{depth}.yaml" for depth in (18, 20, 32, 34, 44, 50, 56, 101, 110, 152)]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits_the_terminal_and_no_word_is_cut(width: int) -> None:
    wrapped = list(lines(shipped(), width))
    assert max(map(len, wrapped)) <= width
    assert " ".join(" ".join(wrapped).split()) == " ".join(" ".join(lines(shipped(), None)).split())


@pytest.mark.parametrize("config", shipped(), ids=str)
def test_a_config_begins_with_a_promise(config: Path) -> None:
    text = promise(config.read_text(encoding="utf-8"))
    assert text.endswith((".", ".)", '."')), text
    assert 20 < len(text) < 160


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# As in He et al. 2015, of 3.5 MB.\n# More.\nmodel:\n", "As in He et al. 2015, of 3.5 MB."),
        ('# "a" becomes "b". More\n', '"a" becomes "b".'),
        ("# One that goes on\n#   over two lines\nx: 1  # not this\n", "One that goes on over two lines"),
        ("model:\n", ""),
    ],
)
def test_the_promise_is_the_first_sentence_of_the_first_comment(text: str, sentence: str) -> None:
    assert promise(text) == sentence


def test_a_word_narrows_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs", "multi30k"]) == 0
    assert list(listed(capsys.readouterr().out)) == ["multi30k/de-en.yaml", "multi30k/en-de.yaml"]


def test_a_word_of_no_config_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs", "zzz"]) == 2
    assert "no shipped config has zzz in its name" in capsys.readouterr().err
