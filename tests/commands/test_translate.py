"""`oneforall translate` answers each line as it comes, in order, as `load(...).translate` does."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callbacks.text_lines import one_line
from command_line.tools import run_tool
from oneforall import TextModel, load

ROOT = Path(__file__).parents[2]
SOURCES = ["Monday, Aug 12, 1907", "", "the 7th of November 1989", " ", "the 31st of December 2024"]


@pytest.fixture(scope="module")
def model(text_run: Path) -> TextModel:
    found = load(text_run)
    assert isinstance(found, TextModel)
    return found


class Terminal(io.TextIOWrapper):
    """Standard input of somebody who types."""

    def isatty(self) -> bool:
        return True


def lines(model: TextModel, sources: list[str]) -> str:
    """Return what the command prints for sources: a line for each, whatever bytes the untrained model writes."""
    return "".join(f"{one_line(text)}\n" for text in model.translate(sources))


@pytest.fixture
def translate(
    text_run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command with some standard input; returns its code, its output and its errors."""

    def call(
        *args: str, stdin: bytes = b"", terminal: bool = False, ckpt_path: Path = text_run
    ) -> tuple[int, str, str]:
        stream = (Terminal if terminal else io.TextIOWrapper)(io.BytesIO(stdin))
        monkeypatch.setattr(sys, "stdin", stream)
        capfd.readouterr()
        code = run_tool(["translate", "--ckpt_path", str(ckpt_path), *args])
        return (code, *capfd.readouterr())

    return call


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_for_each_line_of_standard_input(
    translate: Callable[..., tuple[int, str, str]], model: TextModel, end: bytes
) -> None:
    code, out, _ = translate(stdin=end.join(source.encode() for source in SOURCES))
    assert code == 0
    assert out == lines(model, SOURCES)


def test_texts_of_the_command_line_are_sources_each(
    translate: Callable[..., tuple[int, str, str]], model: TextModel
) -> None:
    assert translate(*SOURCES[::2]) == (0, lines(model, SOURCES[::2]), "")


@pytest.mark.parametrize("args", [["caf\udce9"], ["--prefix", "caf\udce9", "text"]])
def test_an_argument_in_another_encoding_is_named(
    translate: Callable[..., tuple[int, str, str]], args: list[str]
) -> None:
    message = r"the text `caf\xe9` is not UTF-8 (character 4): pass it as UTF-8"
    assert translate(*args) == (2, "", f"oneforall: error: {message}\n")


def test_several_texts_have_number_and_score(translate: Callable[..., tuple[int, str, str]], model: TextModel) -> None:
    code, out, _ = translate("--num_return_sequences", "3", *SOURCES)
    expected = [
        (str(place), f"{each.score:.6g}", one_line(each.text))
        for place, texts in enumerate(model.n_best(SOURCES, num_return_sequences=3), 1)
        for each in texts
    ]
    assert code == 0
    assert [tuple(line.split("\t", 2)) for line in out.split("\n")[:-1]] == expected
    assert {place for place, _, _ in expected} == {"1", "3", "5"}


def test_decoding_options_reach_the_model(translate: Callable[..., tuple[int, str, str]], model: TextModel) -> None:
    flags = "--do_sample --top_k 7 --top_p 0.9 --temperature 2.5 --max_length 8 --min_length 3 --seed 3 --format jsonl"
    code, out, _ = translate(*flags.split(), *SOURCES)
    options: dict[str, Any] = {
        "do_sample": True,
        "top_k": 7,
        "top_p": 0.9,
        "temperature": 2.5,
        "max_length": 8,
        "min_length": 3,
    }
    found = model.n_best(SOURCES, seed=3, **options)
    assert code == 0
    assert [json.loads(line) for line in out.split("\n")[:-1]] == [
        {"index": place, "source": source, "hypotheses": [each._asdict() for each in texts]}
        for place, (source, texts) in enumerate(zip(SOURCES, found, strict=True))
    ]


def test_samples_do_not_depend_on_how_lines_arrive(
    translate: Callable[..., tuple[int, str, str]], model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--do_sample", "--temperature", "3"]
    together = translate(*flags, stdin="\n".join(SOURCES).encode())
    monkeypatch.setattr("commands.translate.BATCH", 1)
    assert translate(*flags, stdin="\n".join(SOURCES).encode()) == together


def test_a_line_is_answered_before_the_next_one_and_a_reader_that_leaves_is_no_error(
    text_run: Path, model: TextModel
) -> None:
    command = [sys.executable, "-m", "cli", "translate", "--ckpt_path", str(text_run)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        for source in SOURCES[::2]:
            process.stdin.write(f"{source}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == lines(model, [source])
        process.stdout.close()
        process.stdin.write(b"one more\n" * 3)
        process.stdin.flush()
        assert process.wait(300) == 0  # although standard input is still open
        assert process.stderr.read() == b""


def test_a_prompt_on_a_terminal_ends_with_control_d(
    translate: Callable[..., tuple[int, str, str]], model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(SOURCES)

    def read(prompt: str) -> str:
        for source in typed:
            return source
        raise EOFError

    monkeypatch.setattr("builtins.input", read)
    code, out, _ = translate(terminal=True)
    assert code == 0
    assert out == lines(model, SOURCES)


@pytest.mark.parametrize(
    ("stdin", "args", "message"),
    [
        (b"a\nb\xff\n", [], r"standard input, line 2: not UTF-8 (byte 2 of the line is 0xff): save the file as UTF-8"),
        (b"a", ["--num_beams", "0"], "num_beams must be an integer of at least 1, got 0"),
        (b"a", ["--min_length", "99"], "min_length must be at most max_length, 12, got 99"),
        (b"a", ["--do_sample", "--num_beams", "2"], "num_beams must be 1 if do_sample is true, got 2"),
    ],
)
def test_mistakes_end_in_one_line(
    translate: Callable[..., tuple[int, str, str]], stdin: bytes, args: list[str], message: str
) -> None:
    assert translate(*args, stdin=stdin) == (2, "", f"oneforall: error: {message}\n")


def test_more_beams_than_any_memory_holds_are_a_mistake(translate: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = translate("--num_beams", "100000000", stdin=b"a")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("oneforall: error: num_beams 100000000 with max_length 1")


def test_nothing_in_nothing_out(translate: Callable[..., tuple[int, str, str]]) -> None:
    assert translate() == (0, "", "")


def test_an_image_classifier_is_for_another_command(
    translate: Callable[..., tuple[int, str, str]], image_run: Path
) -> None:
    code, _, err = translate("a", ckpt_path=image_run)
    assert code == 2
    assert err.endswith("best.ckpt holds an image classifier: use `oneforall classify`\n")
