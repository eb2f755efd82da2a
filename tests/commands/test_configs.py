"""`oneforall configs` lists every shipped config."""

from pathlib import Path

import pytest

from command_line.tools import run_tool

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_shipped_config_is_listed_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(listed) == {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert listed["cifar10/resnet20.yaml"].startswith("ResNet-20 on CIFAR-10")


def test_a_word_narrows_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs", "multi30k"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "multi30k/de-en.yaml",
        "multi30k/en-de.yaml",
    ]


def test_a_word_of_no_config_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(["configs", "zzz"]) == 2
    assert "no shipped config has zzz in its name" in capsys.readouterr().err
