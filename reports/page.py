"""HTML pages that are one file each: styles, scripts and Plotly are inlined, and every value is escaped."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

WORD_END = re.compile(r"(?<=[_./])(?=\w)|(?<=[a-z])(?=[A-Z])")
"""Where a name such as `model.label_smoothing` or `TextSeq2Seq` may be broken into lines."""


CODE = re.compile(r"`([^`]+)`")


def render(template: str, **content: Any) -> str:
    """Return a page.

    Args:
        template: Name of a file in `templates/`.
        content: What it shows.

    Raises:
        ValueError: The extra `report` is not installed.
    """
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup, escape
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ValueError("a page needs jinja2 and plotly: pip install 'one-for-all[report]'") from error

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name in a template is an error, not a gap in the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # as it is
    environment.globals["plotly"] = lambda: Markup(get_plotlyjs())
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    environment.filters["score"] = lambda value: "-" if value is None else f"{value:.4g}"
    environment.filters["breakable"] = lambda text: Markup("<wbr>").join(map(escape, WORD_END.split(str(text))))
    environment.filters["marked"] = lambda text: Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment
