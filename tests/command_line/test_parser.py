"""The parser raises what jsonargparse would print."""

import pytest

from command_line.parser import Parser, ParserError


def test_errors_are_exceptions_and_flags_are_not_abbreviated() -> None:
    parser = Parser()
    parser.add_argument("--max_epochs", type=int)
    with pytest.raises(ParserError, match="max_epoch") as raised:
        parser.parse_args(["--max_epoch", "3"])
    assert raised.value.parser is parser
    assert parser.parse_args(["--max_epochs", "3"]).max_epochs == 3
