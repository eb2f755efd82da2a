"""A misspelt name is explained by the nearest one that exists, and by the file that has it."""

from pathlib import Path

import pytest

from command_line.errors import explain, known_names, mentions
from command_line.parser import Parser, ParserError
from command_line.process import import_packages


@pytest.fixture
def parser() -> Parser:
    """A parser that knows one option."""
    parser = Parser()
    parser.add_argument("--trainer.max_epochs", type=int)
    return parser


def test_the_nearest_option_or_class_is_suggested(parser: Parser) -> None:
    import_packages(["callbacks"])
    assert {"trainer.max_epochs", "EMA", "decay"} <= set(known_names(parser, ["callbacks"]))
    assert "EMA" not in known_names(parser, ["datamodules"])
    error = ParserError("unrecognized arguments: --trainer.max_epoch", parser)
    assert explain(error, ["fit"], []).endswith("; did you mean trainer.max_epochs?")


def test_the_file_of_a_misspelt_name_is_named(parser: Parser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("trainer:\n  - {max_epoch: 3}\n")
    Path("other.yaml").write_text("trainer: {}\n")
    args = ["fit", "--config", "mine.yaml", "--config", "other.yaml"]
    line = explain(ParserError("unrecognized arguments: --trainer.max_epoch 3", parser), args, [])
    assert line.endswith("(in mine.yaml); did you mean trainer.max_epochs?")
    assert explain(ParserError("something else", parser), args, []).endswith("lists what there is")


def test_an_error_of_many_lines_becomes_one(parser: Parser) -> None:
    assert explain(OSError("no\n  space"), [], []) == "no space"
    assert explain(ValueError(), [], []) == "ValueError"


def test_a_name_is_found_anywhere_in_a_config() -> None:
    config = {"a": [{"class_path": "Reznet"}], "b": {"depht": 3}}
    assert mentions(config, "Reznet") and mentions(config, "depht") and not mentions(config, "depth")
