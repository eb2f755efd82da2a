"""Tables of texts: rows of good ones, and errors that name the line of bad ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from datamodules.text.tables import read_table
from tests.datamodules.text.test_files import write


def rows(path: str) -> list[tuple[int, list[object]]]:
    return list(read_table(path, ("en", "de"), "train"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.tsv", 'en\tid\tde\na "b\t1\tc\n\nd\t2\te', [(2, ['a "b', "c"]), (4, ["d", "e"])]),
        ("x.tsv", "en\tde\nab\t" + "c" * 200_000 + "\n", [(2, ["ab", "c" * 200_000])]),
        ("x.csv", 'id,en,de\n1,"a, b\nc","d ""e"""\n2,f,g\n', [(3, ["a, b\nc", 'd "e"']), (4, ["f", "g"])]),
        ("x.csv", f"en,de\na,{'c' * 200_000}\n", [(2, ["a", "c" * 200_000])]),
        (
            "x.csv",
            '\ufeffen,de\r\n"a\r\nb\rc",d\r\n\r\n"e\u2028","f\x85"\r\n',
            [(4, ["a\r\nb\rc", "d"]), (6, ["e\u2028", "f\x85"])],
        ),
        ("X.CSV", "en,de\ra,b\rc,d\r", [(2, ["a", "b"]), (3, ["c", "d"])]),
        ("x.tsv", "\nen\tde\r\na\u2029b\tc\x0b\r\n", [(3, ["a\u2029b", "c\x0b"])]),
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
        ("x.tsv", "en\tfr\na\tb\n", "x.tsv, line 2: no field 'de'; it has 'en', 'fr'"),
        ("x.tsv", "en\tde\na\tb\nc\n", "x.tsv, line 3: 1 cells, but the header has 2"),
        ("x.csv", "en,de\na,b\nc\n", "x.csv, line 3: 1 cells, but the header has 2"),
        ("x.csv", "en,de\na,b,c\n", "x.csv, line 2: 3 cells, but the header has 2"),
        ("x.csv", 'en,de\na,"b"c\n', "x.csv, line 2: malformed"),
        ("x.csv", 'en,de\na,"b\n', "x.csv, line 2: malformed"),
        ("x.jsonl", "[" * 100_000, "x.jsonl, line 1: not valid JSON"),
        ("x.jsonl", '{"en": "a"', "x.jsonl, line 1: not valid JSON"),
        ("x.jsonl", '{"en": "a", "de": "b"}\n{"en": "a"}\n', "x.jsonl, line 2: no field 'de'; it has 'en'"),
        ("x.jsonl", '["a"]', "x.jsonl, line 1: a list, not an object"),
        ("x.jsonl", '{"en": "a", "de": "b", "en": "c"}', r"line 1: not valid JSON \(the key 'en' occurs twice\)"),
        ("x.csv", "en,de,en\na,b,c\n", "x.csv, line 1: column 'en' occurs twice: rename one"),
        ("x.tsv", "en\tde\tde\na\tb\tc\n", "x.tsv, line 1: column 'de' occurs twice: rename one"),
        ("x.tsv", "en\tde\na\rb\tc\n", "x.tsv, line 2: a carriage return"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^train: .*{message}"):
        rows(write(tmp_path / name, content))
