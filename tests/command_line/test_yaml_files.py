"""YAML mistakes that YAML itself lets pass, or reports in riddles, name file, line and what was likely meant."""

from pathlib import Path

import pytest

from command_line.configs import SHIPPED
from command_line.yaml_files import empty_key_before, line_of, read_yaml


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A place for a config."""
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# nothing but a comment\n", "is empty"),
        ("hello\n", "line 1: expected `key: value` lines"),
        ("- a\n", "line 1: expected `key: value` lines"),
        (
            "trainer:\n  max_epochs: 3\n  devices: 1\n  max_epochs: 4\n",
            "line 4: the key max_epochs is already in line 2",
        ),
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2: the key c is already in line 2"),
        ("a:\n- b: 1\n  c: [{d: 1, d: 2}]\n", "line 3: the key d is already in line 3"),
        ("trainer:\n\tmax_epochs: 3\n", "line 2: the line is indented with a tab"),
        ("model:\n  class_path: X\n    init_args: {}\n", r"line 3: `init_args: {}` is indented deeper .*by 2 spaces"),
        ("a:\n- class_path: X\n    init_args:\n", "line 3: `init_args:` is indented deeper than line 2.*by 2 spaces"),
        (
            "trainer:\n    max_epochs: 3\n   devices: 1\n",
            "line 3: `devices: 1` is indented by 3 spaces, which matches no key",
        ),
        ("name: run: 1\n", "line 1: quote a value that has a colon"),
        ("key without colon\nb: 3\n", "line 1, `key without colon`, has no colon"),
        ("a: [1, 2\nb: 3\n", "line 2: expected"),
        ("a: {b: 1\n", "bracket or quote above is not closed"),
        ("a: !foo 3\n", "line 1: could not determine a constructor"),
        ("data:\n  class_path: D\n  init_args:\n  batch_size: 3\n", r"line 4: batch_size .*`init_args:` \(line 3\)"),
        ("data:\n  class_path: D\n  init_args: 3\n", "line 3: init_args must have"),
        ("data:\n  class_path: D\n  batch_size: 3\n", "line 3: batch_size .*write `init_args:`"),
    ],
)
def test_a_mistake_names_file_line_and_fix(config: Path, content: str, message: str) -> None:
    config.write_text(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_yaml(config)
    assert str(config) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_text_that_is_not_utf8_is_named(config: Path) -> None:
    config.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ValueError, match=r"mine\.yaml is not valid YAML: it is not UTF-8"):
        read_yaml(config)


def test_merge_keys_and_lists_that_append_are_no_mistake(config: Path) -> None:
    config.write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\nc: 1\nc+: [2]\n")
    assert read_yaml(config) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": 1, "c+": [2]}


def test_every_shipped_config_passes() -> None:
    assert all(read_yaml(path) for path in SHIPPED.rglob("*.yaml"))


def test_names_are_found_with_their_lines(config: Path) -> None:
    config.write_text("trainer:\nmax_epochs: 3\ndata:\n  class_path: Foo\n")
    assert line_of(config, "trainer.max_epochs") == 2
    assert line_of(config, "Foo") == 4
    assert line_of(config, "Bar") is None
    assert empty_key_before(config, "max_epochs") == ("trainer", 1)
    assert empty_key_before(config, "class_path") is None
