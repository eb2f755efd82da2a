"""The prose of the installed jsonargparse is read rightly: each message here is one that it has just given."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from jsonargparse import ArgumentParser
from torch import nn

from command_line.jsonargparse_messages import is_report, misspelt_names, objections
from command_line.parser import Parser, ParserError


@dataclass
class Shape:
    """Two sizes."""

    width: int = 1
    depth: int | None = None


@pytest.fixture
def refusal() -> Callable[[list[str]], str]:
    """What jsonargparse says of a command line that it refuses."""

    def of(args: list[str]) -> str:
        parser: ArgumentParser = Parser(exit_on_error=True)
        parser.add_argument("--epochs", type=int)
        parser.add_argument("--shape", type=Shape)
        parser.add_subclass_arguments(nn.Module, "network")
        with pytest.raises(ParserError) as raised:
            parser.parse_args(args)
        return str(raised.value)

    return of


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["--epoch", "3"], "epoch"),
        (["--shape.width", "1", "--shape.dept", "3"], "shape.dept"),
        (["--network", "torch.nn.Linnear"], "Linnear"),
        (["--network", "torch.nn.Linear", "--network.in_feature", "3"], "in_feature"),
    ],
)
def test_misspelt_names_are_found(refusal: Callable[[list[str]], str], args: list[str], name: str) -> None:
    assert any(found.endswith(name) for found in misspelt_names(refusal(args))), refusal(args)


@pytest.mark.parametrize(
    ("args", "field", "words"),
    [
        (["--epochs", "three"], "epochs", ["int", "three"]),
        (["--shape.depth", "deep"], "shape.depth", ["int", "deep"]),
        (["--network", "torch.optim.SGD"], "network", ["SGD", "Module"]),
    ],
)
def test_a_report_becomes_the_field_and_the_objection(
    refusal: Callable[[list[str]], str], args: list[str], field: str, words: list[str]
) -> None:
    message = refusal(args)
    assert is_report(message)
    line = objections(message)
    assert field in line and all(word in line for word in words), line
    assert "\n" not in line
    assert "NoneType" not in line
