"""The help pages that are written by hand say what the parser says."""

import pytest

from command_line.classes import known_classes, subclasses
from command_line.help_pages import COMMANDS, defaults, flags, page, page_asked_for, with_full_help
from command_line.mistakes import TOP_LEVEL
from command_line.options import arguments, fields_of
from scripts.flags import parser_of_run
from utils.trust import PACKAGES


@pytest.fixture(scope="module")
def parsers():
    """The parser of each command."""
    return {command: parser_of_run(command) for command in COMMANDS}


def defaults_of(parser):
    return {string: action.default for action in parser._actions for string in action.option_strings}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_page_is_one_of_the_parser(parsers, command):
    of_classes = {
        f"--{field}.{argument}"
        for field in ("model", "data")
        for cls in subclasses(fields_of(parsers[command])[field])
        for argument in arguments(cls)
    }
    known = of_classes | set(defaults_of(parsers[command]))
    assert len(flags(command)) > 8
    assert [flag for flag in flags(command) if flag not in known] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_default_of_a_page_is_that_of_the_parser(parsers, command):
    actual, given = defaults_of(parsers[command]), defaults(command)
    assert given
    assert given == {flag: str(actual[flag]).replace("None", "null") for flag in given}


def test_the_options_without_a_dot_are_all_of_the_parsers(parsers):
    names = {string for parser in parsers.values() for string in defaults_of(parser) if string.startswith("--")}
    assert {f"--{name}" for name in TOP_LEVEL} == {name for name in names if "." not in name and not name.endswith("+")}


def test_the_classes_of_a_page_exist(parsers):
    fields = fields_of(parsers["fit"])
    for field in ("model", "data"):
        ours = [name for name, path in known_classes(fields[field]).items() if path.split(".")[0] in PACKAGES]
        assert ours and all(name in page("fit") for name in ours)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_is_ascii_in_a_hundred_columns_and_says_where_the_rest_is(command):
    text = page(command)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100
    assert all(words in text for words in ("--help.all", "--model.help ImageClassifier", "--data.help"))


def test_what_most_need_comes_first():
    order = [
        page("fit").index(f"  {flag} ") for flag in ("--config", "--name", "--model", "--data", "--checkpoint.mode")
    ]
    assert order == sorted(order)


def test_the_first_option_that_asks_for_help_decides_which_page():
    assert page_asked_for(["fit", "--config", "x.yaml", "--help", "--model.help", "ResNet"]) == page("fit")
    assert page_asked_for(["predict", "-h"]) == page("predict")
    assert page_asked_for(["--help"]) == page_asked_for(["-h", "fit"]) == page_asked_for(["--help.all"])
    for args in (["fit", "--model.help", "ResNet", "-h"], ["fit", "--help.all"], ["fit"], [], ["nope", "--help"]):
        assert page_asked_for(args) is None


def test_the_parser_knows_the_full_page_as_help():
    assert with_full_help(["fit", "--help.all"]) == ["fit", "--help"]
    assert with_full_help(["fit", "--model.help", "ResNet"]) == ["fit", "--model.help", "ResNet"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("fit --help.all", ["--trainer.model_registry", "--resume", "--curves.every_n_seconds"]),
        ("fit --model.help ImageClassifier", ["--model.label_smoothing", "--model.architecture"]),
        ("test --data.help TextSeq2SeqDataModule", ["--data.batch_tokens"]),
    ],
)
def test_the_pages_of_the_parser_are_as_before(oneforall, args, words):
    outcome = oneforall(*args.split())
    assert outcome.code == 0
    assert all(word in outcome.out for word in words), outcome.out[:2000]
