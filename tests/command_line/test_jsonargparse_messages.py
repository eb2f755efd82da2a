"""The prose of the installed jsonargparse is read rightly: each message here is one that it has just given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest
from jsonargparse import ArgumentParser
from torch import nn

from command_line.classes import bases_of
from command_line.jsonargparse_messages import is_report, objections, unknown_class, unknown_option
from command_line.parser import Parser, ParserError
from command_line.parser_reports import Report, report_of


@dataclass
class Shape:
    """Two sizes."""

    width: int = 1
    depth: int | None = None


@pytest.fixture
def refusal() -> Callable[[list[str]], Report]:
    """What jsonargparse says of a command line that it refuses."""

    def of(args: list[str]) -> Report:
        parser: ArgumentParser = Parser(exit_on_error=True)
        parser.add_argument("--epochs", type=int)
        parser.add_argument("--shape", type=Shape)
        parser.add_argument("--kind", type=Literal["a", "b"] | None)
        parser.add_subclass_arguments(nn.Module, "network")
        with pytest.raises(ParserError) as raised:
            parser.parse_args(args)
        return report_of(raised.value)

    return of


@pytest.mark.parametrize(
    ("args", "path", "name"),
    [
        (["--epoch", "3"], "", "epoch"),
        (["--shape.width", "1", "--shape.dept", "3"], "", "shape.dept"),
        (["--network", "torch.nn.Linear", "--network.in_feature", "3"], "network", "in_feature"),
    ],
)
def test_unknown_options_are_found(
    refusal: Callable[[list[str]], Report], args: list[str], path: str, name: str
) -> None:
    report = refusal(args)
    assert (report.path, unknown_option(report.objection)) == (path, name)


@pytest.mark.parametrize("name", ["torch.nn.Linnear", "Linnear", "torch.optim.SGD", "nowhere.Net"])
def test_unknown_classes_are_found(refusal: Callable[[list[str]], Report], name: str) -> None:
    report = refusal(["--network", name])
    assert report.path == "network"
    assert name in (unknown_class(report.objection), unknown_class(report.message))
    assert nn.Module in bases_of(report.typehint)


def test_the_class_of_the_innermost_parser_is_known(refusal: Callable[[list[str]], Report]) -> None:
    report = refusal(["--network", "torch.nn.Linear", "--network.in_feature", "3"])
    assert isinstance(report.parser, Parser)
    assert report.parser.described is nn.Linear


@pytest.mark.parametrize(
    ("args", "path", "line"),
    [
        (["--epochs", "three"], "epochs", "expected int, got three"),
        (["--epochs", "true"], "epochs", "expected int, got true"),
        (["--shape.depth", "deep"], "shape.depth", "expected int, got deep"),
        (["--kind", "c"], "kind", "expected one of a, b, got c"),
    ],
)
def test_a_report_becomes_the_objection(
    refusal: Callable[[list[str]], Report], args: list[str], path: str, line: str
) -> None:
    report = refusal(args)
    assert report.path == path
    assert is_report(report.message)
    assert objections(report.message) == line


def test_a_word_that_yaml_reads_as_a_boolean_is_to_be_quoted() -> None:
    message = "Parser key \"name\":\n  Expected a <class 'str'>. Got value: False"
    assert objections(message) == "expected str, got false; quote it: YAML reads yes, no, on and off as true and false"
