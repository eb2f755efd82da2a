"""The figures of a test as a small table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from callbacks.run.test_metrics import HEADLINE
from callbacks.text_lines import shorten
from utils.contracts import CLASS_ACCURACY
from utils.file_names import readable
from utils.natural_order import natural_key

MOST_CLASSES = 20
"""Maximum number of classes listed; `test_metrics.json` has the accuracy of every class."""

LONGEST_NAME = 40


def table_of_test(metrics: Mapping[str, Tensor | float]) -> list[str]:
    """Return the lines of a table with every `test/...` metric and, for up to 20 classes, the accuracy of each.

    Classes are in natural order: `2` before `10`.

    Args:
        metrics: All metrics by name, such as a Trainer's `callback_metrics`.
    """
    values = {name.removeprefix("test/"): float(v) for name, v in metrics.items() if name.startswith("test/")}
    rows = [(_label(name), _text(name, v)) for name, v in values.items() if not name.startswith(CLASS_ACCURACY)]
    classes = {name.removeprefix(CLASS_ACCURACY): v for name, v in values.items() if name.startswith(CLASS_ACCURACY)}
    if not 0 < len(classes) <= MOST_CLASSES:
        return _aligned(rows)
    per_class = [
        (shorten(readable(name), LONGEST_NAME), "no images" if math.isnan(classes[name]) else f"{classes[name]:.2%}")
        for name in sorted(classes, key=natural_key)
    ]
    return _aligned([*rows, ("", ""), ("class", "accuracy"), *per_class])


def _label(name: str) -> str:
    name, tta, _ = name.partition("_tta")
    words = HEADLINE[name][0] if name in HEADLINE else name.replace("_", " ")
    return f"{words}, augmented" if tta else words


def _text(name: str, value: float) -> str:
    name = name.removesuffix("_tta")
    return f"{value:{HEADLINE[name][1] if name in HEADLINE else '.2%' if 'accuracy' in name else '.4g'}}"


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(label) for label, _ in rows), default=0)
    return [f"  {label:<{width}}  {value}".rstrip() for label, value in rows]
