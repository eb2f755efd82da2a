"""The parser of the command line, whose errors are exceptions."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser


class ParserError(ValueError):
    """What jsonargparse says about a config or a flag, and the parser that knows the right names."""

    def __init__(self, message: str, parser: LightningArgumentParser):
        super().__init__(message)
        self.parser = parser


class Parser(LightningArgumentParser):
    """A parser that raises its errors, so that `main` can explain them in one line.

    Attributes:
        described: The class whose arguments it takes, if it is one of those that jsonargparse makes for a class.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)  # else --trainer.max_epoch passes for --trainer.max_epochs
        self.described: type | None = None
        super().__init__(*args, **kwargs)

    def add_class_arguments(self, theclass: Any, nested_key: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Remember the class if the whole parser is for it."""
        if nested_key is None and inspect.isclass(theclass):
            self.described = theclass
        return super().add_class_arguments(theclass, nested_key, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the whole usage and exiting."""
        raise ParserError(message, self) from ex
