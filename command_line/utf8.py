"""Python's UTF-8 mode, for locales with another encoding."""

from __future__ import annotations

import locale
import os
import sys


def use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode if the locale has another encoding.

    Our own files name their encoding; the libraries that read configs and write logs leave it to the locale.
    """
    if not sys.flags.utf8_mode and locale.getpreferredencoding(False).lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
