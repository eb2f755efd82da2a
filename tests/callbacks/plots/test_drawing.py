"""Plots of classes with any name."""

import warnings

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from callbacks.plots import confident_mistakes, confusion_matrix, curves
from callbacks.plots.drawing import drawing

NAMES = ["$10_$20", "猫", "🐶", "a^b_c\\d", "$\\frac{", "caf\udce9"]


def draw_matrix(names: list[str]) -> Figure:
    return confusion_matrix.draw(torch.eye(len(names), dtype=torch.int64), names, "test")


def draw_mistakes(names: list[str]) -> Figure:
    places = torch.arange(len(names))
    images = torch.zeros(len(names), 3, 4, 4, dtype=torch.uint8)
    confidence = torch.full((len(names),), 0.5)
    return confident_mistakes.draw(
        confident_mistakes.Mistakes(confidence, places, places, images, places), names, "test"
    )


def draw_curves(names: list[str]) -> Figure:
    return curves.draw({name: {"train": ([1.0], [2.0])} for name in names}, names[0])


@pytest.mark.parametrize("draw", [draw_matrix, draw_mistakes])
def test_any_class_name_is_drawn_as_it_is_and_without_a_warning(tmp_path, draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing():
            figure = draw(NAMES)
            figure.savefig(tmp_path / "plot.png")
    shown = [text.get_text() for text in figure.findobj(Text)]
    for name in ("$10_$20", "猫", "a^b_c\\d", r"caf\xe9"):
        assert any(name in text for text in shown)


def test_any_run_name_is_drawn(tmp_path):
    with drawing():
        draw_curves([name for name in NAMES if name != "caf\udce9"]).savefig(tmp_path / "plot.png")
