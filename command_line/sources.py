"""Where a command line got a name from: a flag, or a line of a config file."""

from __future__ import annotations

from pathlib import Path

from command_line.configs import given_configs, with_found_configs
from command_line.yaml_files import empty_key_before, line_of


class Sources:
    """The flags of a command line and its config files, with their bases.

    Args:
        args: The command line.
    """

    def __init__(self, args: list[str]):
        self.flags = [arg.partition("=")[0].lstrip("-") for arg in args if arg.startswith("-")]
        self.values = [arg.rpartition("=")[2] for arg in args]
        self.files = [Path(path) for path in given_configs(with_found_configs(args))]

    def where(self, name: str) -> str:
        """Return ` (in FILE, line N)` for a key or a value of a config; nothing for a flag and its value."""
        if name in self.values or any(flag.rstrip("+") == name or flag.endswith(f".{name}") for flag in self.flags):
            return ""
        for path in reversed(self.files):
            if line := line_of(path, name):
                return f" (in {path}, line {line})"
        return ""

    def lost_indentation(self, name: str) -> str | None:
        """Return which key of a config `name` was likely meant to be under; None if that is not clear."""
        for path in reversed(self.files):
            if found := empty_key_before(path, name):
                return f"indent it so that it is under `{found[0]}:` (line {found[1]})"
        return None
