import errno
import os

import pytest

from utils.error_text import first_sentence, text_of
from utils.files import naming_full_disk


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


def test_the_number_of_an_explained_error_is_left_out_and_no_other() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.csv")
    with pytest.raises(OSError, match="disk is full") as explained, naming_full_disk("a.csv"):
        raise full
    assert text_of(explained.value).startswith("a.csv cannot be written: the disk is full; ")
    assert text_of(full) == str(full)  # which names the file
    denied = PermissionError(errno.EACCES, "Permission denied", "a.csv")
    assert text_of(denied) == "[Errno 13] Permission denied: 'a.csv'"
    assert text_of(ValueError("lr must be above 0")) == "lr must be above 0"


def test_the_text_of_an_error_is_one_line() -> None:
    assert text_of(ValueError("while parsing\n  line 3:\tno colon\n")) == "while parsing line 3: no colon"
