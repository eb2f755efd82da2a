"""HTML pages that are one file each: styles, scripts and uPlot are inlined, and every value is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


def render(template: str, **content: Any) -> str:
    """Return a page.

    Args:
        template: Name of a file in `templates/`.
        content: What it shows.
    """
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,  # a name that a template has wrong is an error, not a gap in the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = _asset
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    environment.filters["score"] = lambda value: "-" if value is None else f"{value:.4g}"
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment


def _asset(name: str) -> str:
    """Return a style or a script of ours, or of uPlot, as it is."""
    from markupsafe import Markup

    return Markup((HERE / name).read_text(encoding="utf-8"))
