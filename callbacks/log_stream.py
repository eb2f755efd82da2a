"""Redirection of Lightning's log messages to the current standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_to_current_stderr() -> Iterator[None]:
    """Send Lightning's messages to the current `sys.stderr`, such as above a bar: its logger keeps the original one."""
    handlers = [each for each in logging.getLogger("lightning.pytorch").handlers if type(each) is logging.StreamHandler]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream or handler.stream)  # None if it was set already
