"""A misspelt name is explained by the nearest one that exists, and by the file that has it."""

import errno
from pathlib import Path

import pytest
from lightning.pytorch import loggers
from lightning_utilities.core.imports import RequirementCache

from command_line.error_line import print_error
from command_line.errors import explain
from command_line.parser import Parser, ParserError


@pytest.fixture
def parser() -> Parser:
    """A parser that knows one option."""
    parser = Parser()
    parser.add_argument("--trainer.max_epochs", type=int)
    return parser


def test_the_nearest_option_is_suggested(parser: Parser) -> None:
    error = ParserError("unrecognized arguments: --trainer.max_epoch", parser)
    assert explain(error, ["fit"], []) == "there is no option trainer.max_epoch; did you mean trainer.max_epochs?"
    other = ParserError("unrecognized arguments: --zzz", parser)
    assert explain(other, ["fit"], []).endswith("lists the options")


def test_the_file_of_a_misspelt_name_is_named(parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("name: x\ntrainer:\n  - {max_epoch: 3}\n")
    Path("other.yaml").write_text("trainer: {}\n")
    args = ["fit", "--config", "mine.yaml", "--config", "other.yaml"]
    line = explain(ParserError("unrecognized arguments: --trainer.max_epoch 3", parser), args, [])
    assert line.endswith("(in mine.yaml, line 3); did you mean trainer.max_epochs?")
    line = explain(
        ParserError("unrecognized arguments: --trainer.max_epoch", parser), [*args, "--trainer.max_epoch"], []
    )
    assert "mine.yaml" not in line  # the flag is the mistake
    assert explain(ParserError("something else", parser), args, []) == "something else"


@pytest.mark.parametrize("logger", ["WandbLogger", "TensorBoardLogger"])
def test_a_package_that_is_missing_is_named_with_its_extra(logger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"WandbLogger": "wandb", "TensorBoardLogger": "tensorboard"}[logger]
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", RequirementCache("wandb>=1000000"))
    for module in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{module}", False)
    with pytest.raises(ModuleNotFoundError) as raised:
        getattr(loggers, logger)(save_dir=".")
    line = explain(ValueError(f"Not a valid subclass of Logger\n  {raised.value}"), [], [])
    assert line == f"{extra} is not installed; pip install 'one-for-all[{extra}]'"


def test_an_error_of_many_lines_becomes_one(parser: Parser) -> None:
    assert explain(OSError("no\n  space"), [], []) == "no space"
    assert explain(ValueError(), [], []) == "ValueError"


def test_a_full_disk_is_reported_without_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, "runs/a/best.ckpt cannot be written: the disk is full; free some space")
    assert explain(full, ["fit"], []) == "runs/a/best.ckpt cannot be written: the disk is full; free some space"
    print_error(full)
    line = capsys.readouterr().err
    assert line == "oneforall: error: runs/a/best.ckpt cannot be written: the disk is full; free some space\n"
