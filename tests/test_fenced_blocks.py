"""Every shell block of README.md, CONTRIBUTING.md and docs/ runs, line by line, in the order of the page.

A comment above a block says how the tests shorten it: `tests add to fit: FLAGS`, `tests replace: THIS -> THAT`, and
`tests run first: COMMAND`. Nothing else about a block is changed. `make` targets are only resolved (`make --dry-run`),
and a fit that an earlier page has run, word for word, is not run again.
"""

import contextlib
import gzip
import pickle
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import cli
from command_line.tools import TOOLS, run_tool
from datamodules.images.cifar10_files import FOLDER, TEST_FILE, TRAIN_FILES
from tests.test_wheel import PACKAGES

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"((?:<!-- tests [^\n]*-->\n)*)\n?```bash\n(.*?)```", re.DOTALL)
DIRECTIVE = re.compile(r"<!-- tests (add to fit|replace|run first): (.*?) -->")
WORDS = ["a", "man", "is", "sleeping", "on", "the", "red", "bench", "near", "two", "small", "dogs", "with", "flowers"]


class Block(NamedTuple):
    """A shell block of a page and the lines that stand for it in the tests."""

    place: str
    lines: list[str]


def blocks(page: str) -> Iterator[Block]:
    """Yield the shell blocks of a page, shortened as the comments above them say."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        directives = DIRECTIVE.findall(match[1])
        content = match[2].replace("\\\n", " ")
        for old, new in [value.split(" -> ") for kind, value in directives if kind == "replace"]:
            assert old in content, f"{page}: the block has no {old}"
            content = content.replace(old, new)
        flags = " ".join(value for kind, value in directives if kind == "add to fit")
        lines = [value for kind, value in directives if kind == "run first"]
        for line in filter(None, (line.split("  #")[0].strip() for line in content.splitlines())):
            lines.append(f"{line} {flags}" if re.search(r"\bfit\b", line) else line)
        yield Block(f"{page}, line {text.count(chr(10), 0, match.start(2)) + 1}", lines)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of, small and random."""
    draw = np.random.default_rng(0)

    def sentences(path: str, count: int) -> None:
        lines = [" ".join(draw.choice(WORDS, int(draw.integers(3, 9)))) for _ in range(count)]
        content = ("\n".join(lines) + "\n").encode()
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content) if path.endswith(".gz") else content)

    for split, count in (("train", 120), ("val", 6), ("test", 6)):
        for language in ("en", "de", "fr"):
            name = "test_2016_flickr" if split == "test" else split
            sentences(f"data/multi30k/{name}.{language}.gz", count)
            sentences(f"{split}.{language}", count)
            sentences(f"{split}.{language}.gz", count)
    for name in ("english.txt", "new.en", "prompts.txt"):
        sentences(name, 3)

    for root in ("data", "datasets", "jpeg75"):
        for name in (*TRAIN_FILES, TEST_FILE):
            file = tmp_path / root / FOLDER / name
            file.parent.mkdir(parents=True, exist_ok=True)
            content = {"data": draw.integers(0, 256, (20, 3072), np.uint8), "labels": [k % 10 for k in range(20)]}
            file.write_bytes(pickle.dumps(content, protocol=2))
    for place in ("my_images", "new_photos", *(f"photos/train/{name}" for name in ("cat", "dog", "horse"))):
        (tmp_path / place).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / place / f"{number}.png")

    for name in ("tests", "scripts", "benchmarks", "cli.py", "Makefile", "pyproject.toml", ".ci", "configs", ".venv"):
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(cli, "report_after", lambda folder: None)  # which takes a second, and never fails
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line of a block: our own programs in this process, for their imports take seconds."""
    program, *args = shlex.split(line)
    program = program.removeprefix(".venv/bin/")
    if program == "python" and args[:2] in (["-m", "cli"], ["cli.py", "fit"]):
        program, args = "oneforall", args[2:] if args[0] == "-m" else args[1:]
    if program == "oneforall":
        run_ours([str(Path(arg).expanduser()) if arg.startswith("~") else arg for arg in args], monkeypatch)
        return
    if program == "python" and args[:2] != ["-m", "pytest"]:
        run_python(args, monkeypatch)
        return
    if program == "make":
        args = ["--dry-run", "-C", str(ROOT), *args]
    if program.endswith(".ci/run"):
        program, args = "bash", ["-n", program]
    command = [sys.executable if program == "python" else program, *args]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, f"{line}\n{outcome.stderr[-2000:]}"


def run_ours(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `oneforall` with arguments."""
    if args[0] in TOOLS:
        assert run_tool(args) == 0
        return
    monkeypatch.setattr(sys, "argv", ["oneforall", *args])
    if args[0] == "fit" and not {"--print_config", "--resume"} & {*args}:
        fit_once(args)
        return
    with leaving() if "--print_config" in args else contextlib.nullcontext():
        cli.main(args)


TRAINED: dict[tuple[str, ...], Path] = {}
"""Copies of the folders of runs, by the arguments of the fit."""


def fit_once(args: list[str]) -> None:
    """Train, or copy the run folder that the same line has left on an earlier page: all begin with the same files."""
    there = run_folders()
    copy = TRAINED.get(tuple(args))
    if copy is not None and Path("runs", copy.name) not in there:
        shutil.copytree(copy, Path("runs", copy.name))
        return
    cli.main(args)
    (made,) = run_folders() - there
    TRAINED[tuple(args)] = Path(shutil.copytree(made, Path("trained", made.name).absolute()))


def run_folders() -> set[Path]:
    """Return the folders of the runs so far."""
    return {path for path in Path("runs").glob("*") if path.is_dir()}


def run_python(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `python -m MODULE ...` or `python -c CODE`."""
    how, what, *rest = args
    monkeypatch.setattr(sys, "argv", [what, *rest])
    if how == "-c":
        exec(what, {"__name__": "__main__"})
        return
    assert how == "-m"
    with leaving() if "--help" in rest else contextlib.nullcontext():
        runpy.run_module(what, run_name="__main__", alter_sys=True)


def leaving() -> contextlib.AbstractContextManager[Any]:
    """Take an exit without an error as the end of a program, and its absence as a failure."""
    return pytest.raises(SystemExit, check=lambda exit: exit.code in (0, None))


WRITTEN = [page for page in (ROOT / "docs").rglob("*.md") if "_generated" not in page.parts]
DOCS = sorted(str(page.relative_to(ROOT)) for page in WRITTEN if "```bash" in page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *DOCS])
def test_every_shell_block_runs(page: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(blocks(page))
    assert len(found) == (ROOT / page).read_text(encoding="utf-8").count("```bash")
    if page == "CONTRIBUTING.md":
        found = [block for block in found if "tiny_net" not in block.lines[-1]]  # the test below has it
    for block in found:
        for line in block.lines:
            try:
                run(line, monkeypatch)
            except BaseException as error:
                raise AssertionError(f"{block.place}: {line}") from error


@pytest.mark.slow
@pytest.mark.first
def test_the_examples_of_the_tutorial_train(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python and YAML of CONTRIBUTING.md become files of a checkout, and its commands run there."""
    (workspace / "configs").unlink()
    for name in PACKAGES:
        subprocess.run(["cp", "-r", str(ROOT / name), "."], check=True)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, content in re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", text, re.DOTALL):
        Path(name).write_text(content, encoding="utf-8")
    (workspace / "cli.py").unlink()
    Path("cli.py").write_text((ROOT / "cli.py").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.delenv("PYTHONPATH")
    said = ""
    for block in [block for block in blocks("CONTRIBUTING.md") if "tiny_net" in block.lines[-1]]:
        for line in block.lines:
            args = shlex.split(line)[1:]
            outcome = subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=300)
            assert outcome.returncode == 0, outcome.stderr[-2000:]
            said += outcome.stdout
    for run in ("tiny_net", "upper-case", "stripes"):
        assert (workspace / "runs" / run / "checkpoints" / "best.ckpt").is_file()
    assert "training loss from" in said
    assert "val/f1" in (workspace / "runs" / "stripes" / "metrics.csv").read_text(encoding="utf-8")
