"""Commands without a Trainer answer, and fail, as the others do."""

import subprocess
import sys
from pathlib import Path

import pytest

from command_line.paths import path_argument
from command_line.start import answer_early
from command_line.tools import TOOLS, parser_of, run_tool

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TOOLS)
def test_every_command_explains_itself_and_gives_examples(name: str) -> None:
    page = parser_of(name).format_help()
    assert f"usage: oneforall {name}" in page
    assert f"  oneforall {name}" in page.split("for example:")[1]


@pytest.mark.parametrize("name", TOOLS)
def test_descriptions_are_wrapped_to_the_terminal_and_no_word_is_lost(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    parser = parser_of(name)
    page = parser.format_help()
    assert all(len(line) <= 60 for line in page.splitlines() if not line.startswith("  "))
    assert " ".join(str(parser.description).split()) in " ".join(page.split())


def test_every_file_of_the_room_is_a_command_and_the_overview_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    files = {path.stem for path in (ROOT / "commands").glob("*.py")} - {"__init__"}
    assert files == set(TOOLS)
    with pytest.raises(SystemExit):
        answer_early(["--help"])
    page = capsys.readouterr().out
    assert all(f"\n  {name} " in page for name in TOOLS)


def test_an_unknown_option_ends_in_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_tool(["configs", "--wrod"])
    line = capsys.readouterr().err
    assert leaving.value.code == 2
    assert line == "oneforall: error: unrecognized arguments: --wrod; `oneforall configs --help` explains it\n"


CKPT = ["--ckpt_path", "x.ckpt"]


@pytest.mark.parametrize(
    ("args", "argument"),
    [
        (["classify", *CKPT, ""], "IMAGE"),
        (["classify", *CKPT, "a.png", "", "b.png"], "IMAGE"),
        (["classify", "--ckpt_path", "", "a.png"], "--ckpt_path"),
        (["translate", "--ckpt_path=", "a text"], "--ckpt_path"),
        (["export", *CKPT, "--format", "onnx", "--output", ""], "--output"),
        (["report", ""], "RUN"),
        (["compare", "runs/a", ""], "RUN"),
        (["compare", "runs/a", "runs/b", "--output="], "--output"),
        (["sweep", "", "space.yaml"], "CONFIG"),
        (["sweep", "quickstart/images.yaml", ""], "SPACE"),
    ],
)
def test_an_empty_path_is_refused_by_name(args: list[str], argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, check=lambda leaving: leaving.code == 2):
        run_tool(args)
    line = capsys.readouterr().err
    assert line.startswith(
        f"oneforall: error: argument {argument}: the path is empty, perhaps because a shell variable"
    )
    assert line.count("\n") == 1


def test_every_path_of_a_command_has_the_type_that_refuses_an_empty_one() -> None:
    paths = {"IMAGE", "RUN", "CONFIG", "SPACE", "PATH", "FILE", "DIR"}
    for name in TOOLS:
        for action in parser_of(name)._actions:
            assert (action.type is path_argument) == (action.metavar in paths), (name, action.dest)


def test_a_traceback_is_shown_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for args, variable, shown in (([], "", False), (["--debug"], "", True), ([], "1", True)):
        monkeypatch.setenv("ONEFORALL_DEBUG", variable)
        assert run_tool(["configs", "zzz", *args]) == 2
        assert ("Traceback" in capsys.readouterr().err) == shown


@pytest.mark.parametrize("args", [["configs"], *([name, "--help"] for name in TOOLS)])
def test_no_library_is_imported_for_help(args: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["oneforall", *{args!r}]
from command_line.start import main
try:
    main()
finally:
    heavy = {{"torch", "numpy", "jsonargparse", "lightning", "matplotlib"}} & set(sys.modules)
    print("imported:", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported: []\n")


def test_a_reader_that_stops_reading_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m cli configs | head -n 1", shell=True, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Training configs")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_named_once_and_ends_in_code_2() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "configs"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert done.stderr == (
        "oneforall: error: standard output cannot be written: the disk is full; free some space, or write to another "
        "disk\n"
    )
    assert done.returncode == 2


def test_a_command_without_memory_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: object) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8192 bytes. Error code 12"
        )

    monkeypatch.setattr("commands.configs.run", run)
    assert run_tool(["configs"]) == 1
    assert capsys.readouterr().err == (
        "oneforall: error: out of memory: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8192 "
        "bytes\n"
    )
    with pytest.raises(RuntimeError):
        run_tool(["configs", "--debug"])
