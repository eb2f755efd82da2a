r"""File names as text that every file, plot and log can hold.

A name on disk is bytes. Python keeps those that are not UTF-8 as lone surrogates, which no UTF-8 file can hold and no
font can draw. `readable` writes them as escapes, and so do the terminal and every text file, by `ESCAPES`. Paths that
are opened stay as they are on disk.
"""

from __future__ import annotations

import codecs
import os
import unicodedata

ESCAPES = "oneforall.escapes"
"""Name of the encoding error handler that writes escapes for what an encoding cannot represent."""


def readable(name: str | os.PathLike[str]) -> str:
    r"""Return a file name or path as text: bytes that are not UTF-8 become escapes such as `\xe9`."""
    text = os.fspath(name)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        return text.encode("utf-8", "backslashreplace").decode()


def one_form(name: str) -> str:
    """Return a file name in the form in which names are compared: `readable`, in Unicode's composed form (NFC).

    macOS and some archives write an accented letter as a letter and an accent, others as one character.
    """
    return unicodedata.normalize("NFC", readable(name))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Return what to write in place of the characters of an error, and where to continue after them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = readable(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(ESCAPES, _escaped)
