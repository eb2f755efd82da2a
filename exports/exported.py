"""The description of an exported model, and the checks that all formats share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple


class Exported(NamedTuple):
    """An export, in words.

    Attributes:
        takes: Its input: names, types, shapes, units.
        gives: Its output.
        checked: How it was compared with the checkpoint, and the greatest difference.
        usage: Lines of Python that run it, with `PATH` for where it is.
    """

    takes: str
    gives: str
    checked: str
    usage: tuple[str, ...]


def require(*packages: str) -> None:
    """Raise ValueError, with the command that installs it, if a package of the extra `export` is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{', '.join(missing)} {verb} not installed; pip install 'one-for-all[export]'")


def check_close(difference: float, limit: float, what: str) -> None:
    """Raise ValueError unless a difference from the checkpoint is within its limit (NaN never is)."""
    if not difference <= limit:
        raise ValueError(
            f"{what} differ from those of the checkpoint by {difference:.1e} (limit {limit:.0e}): not exported"
        )
