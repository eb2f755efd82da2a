"""File names as text."""

import os

import pytest

from utils.file_names import one_form, readable


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"caf\xe9.png", r"caf\xe9.png"),
        ("café 猫 🐶 $1_$2^\\".encode(), "café 猫 🐶 $1_$2^\\"),
        (b"\xff\xfe", r"\xff\xfe"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_names_become_text_that_utf_8_can_hold(name: bytes, text: str) -> None:
    assert readable(os.fsdecode(name)) == text
    assert text.encode()


def test_lone_surrogates_that_stand_for_no_byte() -> None:
    assert readable("a\ud800b") == r"a\ud800b"


def test_letters_and_accents_have_one_form() -> None:
    assert one_form("cafe\u0301") == one_form("caf\u00e9") == "caf\u00e9"
