"""Text files: lines and rows of good ones, and errors that name the line of bad ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from datamodules.text.files import read_lines, read_table, read_text


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"\n\n", ["", ""]),
        (b"a\r\nb\rc\r\n", ["a", "b\rc"]),
        ("one\x0c1\ntwo\u20282\x85\n".encode(), ["one\x0c1", "two\u20282\x85"]),
        ("\ufeffone\ntwo ü".encode(), ["one", "two ü"]),
        (gzip.compress("eins\nzwei ü".encode(), mtime=0), ["eins", "zwei ü"]),
        (gzip.compress("\ufeffeins\n".encode(), mtime=0), ["eins"]),
    ],
)
def test_lines_end_with_a_line_feed_alone(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    assert read_lines(write(tmp_path / "x", content), "x") == lines


def test_a_whole_text_has_plain_line_ends_and_no_byte_order_mark(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "text.txt", "\ufeffone\r\ntwo\n"), "data.path") == "one\ntwo\n"
    assert read_text(write(tmp_path / "text.gz", gzip.compress("ä\n\nb".encode(), mtime=0)), "data.path") == "ä\n\nb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "^data.path: .*bad is empty"),
        (b"\xef\xbb\xbf", "^data.path: .*bad is empty"),
        (b"a\nb\xff\n", r"^data.path: .*bad, line 2: not UTF-8 \(byte 2 of the line is 0xff\)"),
        (gzip.compress(b"a" * 999, mtime=0)[:-9], "^data.path: .*bad is a damaged gzip file"),
    ],
)
def test_bad_files_are_named_with_the_argument(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "bad", content)
    for read in (read_lines, read_text):
        with pytest.raises(ValueError, match=message) as raised:
            read(path, "data.path")
        assert "\n" not in str(raised.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"^val_target: the file nowhere does not exist$"):
        read_lines("nowhere", "val_target")


def rows(path: str) -> list[tuple[int, list[object]]]:
    return list(read_table(path, ("en", "de"), "train"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.tsv", 'en\tid\tde\na "b\t1\tc\n\nd\t2\te', [(2, ['a "b', "c"]), (4, ["d", "e"])]),
        ("x.tsv", "en\tde\na\rb\t" + "c" * 200_000 + "\n", [(2, ["a\rb", "c" * 200_000])]),
        ("x.csv", 'id,en,de\n1,"a, b\nc","d ""e"""\n2,f,g\n', [(3, ["a, b\nc", 'd "e"']), (4, ["f", "g"])]),
        ("x.csv", f"en,de\na,{'c' * 200_000}\n", [(2, ["a", "c" * 200_000])]),
    ],
)
def test_tables_with_a_header(tmp_path: Path, name: str, content: str, expected: list[tuple[int, list[str]]]) -> None:
    assert rows(write(tmp_path / name, content)) == expected
    assert rows(write(tmp_path / f"{name}.gz", gzip.compress(content.encode(), mtime=0))) == expected


def test_objects_one_per_line(tmp_path: Path) -> None:
    objects = [{"en": "a", "de": ["b", "c\u2028"]}, {"en": 3, "de": None, "other": 3}]
    jsonl = "\n\n".join(json.dumps(each, ensure_ascii=False) for each in objects)
    expected = [(1, ["a", ["b", "c\u2028"]]), (3, [3, None])]
    assert rows(write(tmp_path / "x.jsonl", jsonl)) == expected
    assert rows(write(tmp_path / "x.jsonl.gz", gzip.compress(jsonl.encode(), mtime=0))) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "a", r"the name of .*x.txt must end in .tsv, .csv, .jsonl, or one of these and .gz"),
        ("x.tsv", "en\tfr\na\tb\n", "x.tsv, line 2: no field 'de'; there are 'en', 'fr'"),
        ("x.tsv", "en\tde\na\tb\nc\n", "x.tsv, line 3: 1 cells, but the header has 2"),
        ("x.csv", "en,de\na,b\nc\n", "x.csv, line 3: 1 cells, but the header has 2"),
        ("x.csv", "en,de\na,b,c\n", "x.csv, line 2: 3 cells, but the header has 2"),
        ("x.csv", 'en,de\na,"b"c\n', "x.csv, line 2: malformed"),
        ("x.csv", 'en,de\na,"b\n', "x.csv, line 2: malformed"),
        ("x.jsonl", "[" * 100_000, "x.jsonl, line 1: not valid JSON"),
        ("x.jsonl", '{"en": "a"', "x.jsonl, line 1: not valid JSON"),
        ("x.jsonl", '{"en": "a", "de": "b"}\n{"en": "a"}\n', "x.jsonl, line 2: no field 'de'; there are 'en'"),
        ("x.jsonl", '["a"]', "x.jsonl, line 1: a list, not an object"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^train: .*{message}"):
        rows(write(tmp_path / name, content))
