import pytest

from utils.text_table import aligned, figure


def test_names_are_aligned_left_and_numbers_right():
    assert aligned([["run", "x"], ["long name", "1.5"], ["", ""]]) == ["run          x", "long name  1.5", ""]


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (123456, "123456"), (0.5, "0.5"), (1e-5, "1e-05"), (True, "True")]
)
def test_figures_have_four_digits(value, text):
    assert figure(value) == text
