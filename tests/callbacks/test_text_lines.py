import pytest

from callbacks.text_lines import class_name, markdown_table, one_line, shorten, visible

BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("line_break", BREAKS)
def test_a_text_is_one_line_for_every_reader(line_break):
    assert [one_line(text) for text in (f"a{line_break}b", f"c{line_break}", line_break)] == ["a b", "c", ""]
    shown = visible(f"ä{line_break}▁🎉 \u00a0")
    assert len(shown.splitlines()) == 1
    assert shown.startswith("ä\\")
    assert shown.endswith("▁🎉 \u00a0")


def test_what_cannot_be_seen_is_an_escape():
    assert visible("a\ud800\x1b") == "a\\ud800\\x1b"
    assert visible("ä|▁🎉\u00a0") == "ä|▁🎉\u00a0"


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("12345", "12345"), ("123456", "1234…")])
def test_long_text_is_truncated(text, shown):
    assert shorten(text, 5) == shown


def test_a_class_has_its_name_or_its_number():
    assert class_name(["cat", "dog"], 1) == "dog"
    assert class_name(None, 1) == "1"
    assert class_name(["cat"], 1) == "1"
    assert class_name(["cat"], -1) == "-1"


def test_a_markdown_table():
    assert markdown_table(["a", "b"], [["1", "`2`"], ["", "x"]]) == "| a | b |\n| --- | --- |\n| 1 | `2` |\n|  | x |"
