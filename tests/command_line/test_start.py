"""What needs no library is answered before any is imported."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from command_line.start import answer_early, mistake_in_command

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        answer_early(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"oneforall {version('one-for-all')}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["a command is missing", "fit (train)", "--config quickstart/images.yaml"]),
        (["train", "--config", "x.yaml"], ["no command train", "did you mean fit?"]),
        (["predikt"], ["did you mean predict?"]),
        (["zzz"], ["no command zzz", "validate"]),
        (["--config", "x.yaml", "fit"], ["the command comes first, before --config"]),
    ],
)
def test_a_wrong_command_ends_in_one_line(
    args: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        answer_early(args)
    line = capsys.readouterr().err
    assert leaving.value.code == 2
    assert line.count("\n") == 1
    assert all(word in line for word in words), line


def test_commands_and_help_pass() -> None:
    assert not any(map(mistake_in_command, (["fit"], ["test", "-h"], ["-h"], ["--help"], ["predict", "--x"])))


def test_torch_and_lightning_are_not_imported_for_an_early_answer() -> None:
    code = (
        "import sys; sys.argv = ['oneforall', '--version']; import atexit;"
        "atexit.register(lambda: print('torch' in sys.modules, 'lightning' in sys.modules));"
        "from command_line.start import main; main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.splitlines()[-1] == "False False"
