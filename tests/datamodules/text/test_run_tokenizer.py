"""The tokenizer of a run: which one is used at each stage, where it is saved, and how processes share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer

from datamodules.text.run_tokenizer import RunTokenizer
from datamodules.text.tokenizer import train_tokenizer
from tests.datamodules.trainers import fake_trainer
from utils.tokenizer_files import load_tokenizer

NAMED = train_tokenizer(["say: 1 x"] * 9, 300, "bpe", 0)
OF_THE_MODEL = train_tokenizer(["tell: 2 y"] * 9, 310, "bpe", 0)
TEXTS = ["one two three four"] * 9


@pytest.fixture
def named(tmp_path: Path) -> str:
    file = str(tmp_path / "named.json")
    NAMED.save(file)
    return file


def never() -> Iterable[str]:
    raise AssertionError("no tokenizer may be trained")


def run_tokenizer(path: str | None = None, texts: Callable[[], Iterable[str]] = never) -> RunTokenizer:
    return RunTokenizer(path, "bpe", 320, 3, texts)


def same(one: Tokenizer, other: Tokenizer) -> bool:
    return one.to_str() == other.to_str()


def model(tokenizer: Tokenizer | None) -> Any:
    return SimpleNamespace(tokenizer=tokenizer)


def test_without_a_path_a_tokenizer_is_trained_once() -> None:
    asked = []

    def texts() -> list[str]:
        asked.append(True)
        return TEXTS

    tokenizer = run_tokenizer(texts=texts)
    for _ in range(2):
        assert same(tokenizer.get(None), train_tokenizer(TEXTS, 320, "bpe", 3))
    assert len(asked) == 1


def test_a_named_one_comes_before_training_and_that_of_the_folder_before_both(named: str, tmp_path: Path) -> None:
    trainer = fake_trainer(stage="fit", default_root_dir=str(tmp_path / "run"))
    assert same(run_tokenizer(named).get(trainer), NAMED)
    (tmp_path / "run").mkdir()
    OF_THE_MODEL.save(str(tmp_path / "run/tokenizer.json"))
    assert same(run_tokenizer(named).get(trainer), OF_THE_MODEL)


def test_the_tokenizer_is_saved_in_the_run_folder_once(named: str, tmp_path: Path) -> None:
    trainer = fake_trainer(stage="fit", default_root_dir=str(tmp_path / "run"))
    run_tokenizer(named).keep(trainer)
    assert same(load_tokenizer(tmp_path / "run"), NAMED)
    saved = (tmp_path / "run/tokenizer.json").read_bytes()
    resumed = run_tokenizer(None, lambda: TEXTS)  # whatever the config says now
    resumed.keep(trainer)
    assert same(resumed.get(trainer), NAMED)
    assert (tmp_path / "run/tokenizer.json").read_bytes() == saved
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_outside_a_fit_it_is_that_of_the_model(named: str, stage: str) -> None:
    trainer = fake_trainer(stage=stage, lightning_module=model(OF_THE_MODEL))
    assert run_tokenizer(named).get(trainer) is OF_THE_MODEL
    assert run_tokenizer().get(trainer) is OF_THE_MODEL
    without = fake_trainer(stage=stage, lightning_module=model(None))
    assert same(run_tokenizer(named).get(without), NAMED)
    with pytest.raises(ValueError, match=r"the model has no tokenizer, and data\.tokenizer is not set"):
        run_tokenizer().get(without)


def test_in_a_fit_that_of_the_model_is_not_used(named: str) -> None:
    trainer = fake_trainer(stage="fit", lightning_module=model(OF_THE_MODEL))
    assert same(run_tokenizer(named).get(trainer), NAMED)


def test_a_named_tokenizer_must_be_that_of_the_model(named: str, tmp_path: Path) -> None:
    other = fake_trainer(stage="test", lightning_module=model(OF_THE_MODEL))
    message = r"named.json is not the tokenizer that the model was trained with.*--data\.tokenizer null"
    with pytest.raises(ValueError, match=message):
        run_tokenizer(named).check_against_model(other)
    run_tokenizer(named).check_against_model(fake_trainer(stage="test", lightning_module=model(NAMED)))
    run_tokenizer(named).check_against_model(fake_trainer(stage="fit", lightning_module=model(OF_THE_MODEL)))
    run_tokenizer(str(tmp_path / "moved.json")).check_against_model(other)
    run_tokenizer(None).check_against_model(other)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="tokenizer nowhere: neither a file nor a folder"):
        run_tokenizer("nowhere").get(None)


def test_every_process_gets_the_tokenizer_of_the_first(named: str, tmp_path: Path) -> None:
    """The folder that the other processes take for the run's has another tokenizer."""
    (tmp_path / "other").mkdir()
    OF_THE_MODEL.save(str(tmp_path / "other/tokenizer.json"))
    sent: list[str] = []

    def broadcast(content: str) -> str:
        sent.append(content)
        return sent[0]

    for rank, folder in enumerate(["no/such/folder", str(tmp_path / "other"), str(tmp_path / "other")]):
        trainer = fake_trainer(
            rank, 3, stage="fit", default_root_dir=folder, strategy=SimpleNamespace(broadcast=broadcast)
        )
        tokenizer = run_tokenizer(named)
        tokenizer.share(trainer)
        assert same(tokenizer.get(trainer), NAMED)
    assert sent == [NAMED.to_str(), "", ""]


def test_one_process_shares_nothing(named: str) -> None:
    run_tokenizer(named).share(None)
    run_tokenizer(named).share(fake_trainer(stage="fit"))  # which has no strategy to broadcast with
