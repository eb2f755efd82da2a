"""Standard output and error that may be closed or go away without ending a run, and that can write any text."""

from __future__ import annotations

import errno
import io
import os
import sys

from utils.file_names import ESCAPES

GONE = (errno.EPIPE, errno.EIO)
"""Errors of a reader that has left: the end of a pipe, and of a terminal."""


def mend_streams() -> None:
    r"""Replace standard streams that are closed, and let those whose reader leaves fall silent instead of raising.

    Training continues after `oneforall fit | head -1`; what is written after that goes nowhere. What the encoding of a
    stream lacks, such as a file name that is not UTF-8, is written as escapes such as `\xe9`.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed by `>&-`: without this, the next file to be opened would get its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, _lenient(stream, descriptor))


def _lenient(stream: io.TextIOWrapper, descriptor: int) -> io.TextIOWrapper:
    raw = LenientFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),  # type: ignore[type-var]
        encoding=stream.encoding,
        errors=ESCAPES,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class LenientFile(io.FileIO):
    """A file that discards what is written once its reader has left."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Write, and report all as written if the reader has left."""
        try:
            written = super().write(data)
        except OSError as error:
            if error.errno not in GONE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for what C libraries and child processes write as well
            os.close(nowhere)
            return memoryview(data).nbytes
        return written
