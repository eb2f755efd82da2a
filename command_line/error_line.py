"""The line that an error ends in."""

from __future__ import annotations

import sys

PREFIX = "oneforall: error: "


def print_error(message: object) -> None:
    """Print an error to stderr, in one line."""
    print(f"{PREFIX}{' '.join(str(message).split())}", file=sys.stderr, flush=True)
