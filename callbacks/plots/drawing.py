"""matplotlib's settings for all plots: names of files and classes are text in any script, not mathematics or TeX."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

FALLBACK_FONTS = (
    *(f"Noto Sans CJK {region}" for region in ("SC", "JP", "KR", "TC")),
    *("Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol"),
)
"""Fonts of scripts that matplotlib's own font lacks; those that are installed are used."""


@contextmanager
def drawing() -> Iterator[None]:
    """Let figures that are made and saved in this block use every installed font that they may need.

    Characters that no font has become boxes, without warnings.
    """
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    family = [*mpl.rcParams["font.family"], *(name for name in FALLBACK_FONTS if name in installed)]
    with mpl.rc_context({"font.family": family, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield
