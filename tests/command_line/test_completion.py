"""Completion in a shell, as bash itself does it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from command_line.completion import shell_asked_for
from command_line.help_pages import COMMANDS
from command_line.start import answer_early
from command_line.tools import TOOLS

shtab = pytest.importorskip("shtab")


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, check=lambda leaving: leaving.code == 0):
        answer_early(["--print_shtab", "bash"])
    return capsys.readouterr().out


def completed(script: str, *words: str) -> list[str]:
    """What bash proposes for the last word."""
    line = " ".join(f"'{word}'" for word in ("oneforall", *words))
    asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_oneforall; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_all_commands_are_completed(script: str) -> None:
    assert set(completed(script, "")) >= {*COMMANDS, *TOOLS}
    assert completed(script, "pre") == ["predict"]


def test_options_of_a_command_are_completed(script: str) -> None:
    assert completed(script, "fit", "--trainer.max_") == [
        "--trainer.max_epochs",
        "--trainer.max_steps",
        "--trainer.max_time",
    ]
    assert completed(script, "configs", "--deb") == ["--debug"]
    assert completed(script, "validate", "--outp") == []


def test_values_are_completed(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").touch()
    assert completed(script, "fit", "--config", "mi") == ["mine.yaml"]
    assert completed(script, "fit", "--checkpoint.mode", "m") == ["max", "min"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_the_script_for_zsh_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        answer_early(["--print_shtab=zsh"])
    subprocess.run(["zsh", "-n"], input=capsys.readouterr().out, text=True, check=True)


@pytest.mark.parametrize("args", [["--print_shtab"], ["--print_shtab", "nosh"], ["--print_shtab="]])
def test_a_shell_that_is_not_known_is_a_mistake(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, check=lambda leaving: leaving.code == 2):
        answer_early(args)
    assert "takes the name of a shell, one of bash, zsh" in capsys.readouterr().err


def test_without_shtab_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    with pytest.raises(SystemExit, check=lambda leaving: leaving.code == 2):
        answer_early(["--print_shtab", "bash"])
    assert "pip install 'one-for-all[completion]'" in capsys.readouterr().err


def test_only_the_first_word_asks_for_a_script() -> None:
    assert shell_asked_for(["--print_shtab", "zsh"]) == shell_asked_for(["--print_shtab=zsh"]) == "zsh"
    assert shell_asked_for(["fit", "--print_shtab", "zsh"]) is None
    assert shell_asked_for([]) is None
