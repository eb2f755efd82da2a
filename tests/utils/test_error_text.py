import pytest

from utils.error_text import first_sentence


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", ""),
        ("one line", "one line"),
        ("failed reading a.pt: no ZIP archive. This is an internal error.", "failed reading a.pt: no ZIP archive"),
        ("pair.cc:561 is closed\nsecond line", "pair.cc:561 is closed"),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_first_sentence_of_the_first_line(text: str, first: str) -> None:
    assert first_sentence(RuntimeError(text)) == first
