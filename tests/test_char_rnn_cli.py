"""The character language model as a user meets it: any text file in, samples and continued prompts out."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.tiny_runs import command

ROOT = Path(__file__).parents[1]
TEXT = "the cat sat on the mat.\nthat hat is the cat's hat!\n" * 12
FIT = [
    *["fit", "--config", str(ROOT / "configs/char_rnn.yaml"), "--data.path", "text.txt"],
    *["--data.batch_size", "3", "--data.sequence_length", "10", "--data.eval_batch_size", "3"],
    *["--model.architecture.hidden_size", "8", "--model.sample_length", "20", "--trainer.max_epochs", "1"],
    *["--run_dir", "run"],
]
PREDICT = ["predict", "--ckpt_path", "run/checkpoints/best.ckpt", "--data.predict_path", "prompts.txt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a finished run."""
    made = tmp_path_factory.mktemp("characters")
    (made / "text.txt").write_text(TEXT)
    command(*FIT, folder=made)
    return made


@pytest.fixture
def in_folder(
    oneforall: Callable[..., Outcome], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Runs the command line in that folder."""
    monkeypatch.chdir(folder)
    return oneforall


def test_a_run_has_its_figures_and_samples(folder: Path) -> None:
    with (folder / "run" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    # Less than guessing evenly among its characters costs, in bits: nats would be below 2.7
    even = math.log2(len(set(TEXT)))
    assert all(2.7 < float(row[f"{stage}/bits_per_character"]) < even for stage in ("train", "val"))
    samples = (folder / "run" / "samples.md").read_text().splitlines()
    assert "## Epoch 1, step 18" in samples and sum(line.startswith("|") for line in samples) == 2 + 3


def test_a_checkpoint_is_enough_to_test_and_to_continue_prompts(
    in_folder: Callable[..., Outcome], folder: Path
) -> None:
    (folder / "prompts.txt").write_text("the cat\n\nhat is")
    assert in_folder("test", "--ckpt_path", "run/checkpoints/best.ckpt").code == 0
    figures = json.loads((folder / "run" / "test_metrics.json").read_text())
    assert 2.7 < figures["test/bits_per_character"] < math.log2(len(set(TEXT)))

    (folder / "text.txt").rename(folder / "away.txt")  # the text is not needed to write
    assert in_folder(*PREDICT).code == 0
    lines = (folder / "run" / "predictions.txt").read_text().split("\n")
    assert len(lines) == 4 and lines[1] == lines[3] == ""
    assert lines[0].startswith("the cat") and len(lines[0]) == 7 + 20
    assert lines[2].startswith("hat is") and len(lines[2]) == 6 + 20
    (folder / "away.txt").rename(folder / "text.txt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["bad.txt is empty"]),
        (b"one\ntwo\xff", ["bad.txt, line 2", "0xff"]),
    ],
)
def test_a_bad_text_ends_in_one_line(
    in_folder: Callable[..., Outcome], folder: Path, content: bytes, words: list[str]
) -> None:
    (folder / "bad.txt").write_bytes(content)
    outcome = in_folder(*FIT[:-1], "other", "--data.path", "bad.txt")
    assert outcome.code == 2 and all(word in outcome.last_line for word in words), outcome.err
    assert not (folder / "other").exists()


def test_a_prompt_with_a_character_never_seen_ends_in_one_line(in_folder: Callable[..., Outcome], folder: Path) -> None:
    (folder / "prompts.txt").write_text("the cat\nZzz\n")
    outcome = in_folder(*PREDICT)
    assert outcome.code == 2, outcome.err
    assert "prompts.txt, line 2" in outcome.last_line and "'Z' (U+005A)" in outcome.last_line
