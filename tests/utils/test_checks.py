"""Checks of arguments: what passes is returned, anything else is refused with name, range and value."""

import math
from typing import Any

import pytest

from utils.checks import (
    check_at_least,
    check_choice,
    check_fraction,
    check_int,
    check_interval,
    check_positive,
    check_positive_int,
    check_probability,
)

NOT_NUMBERS: list[Any] = [True, False, "1", None, [1], math.nan]
INFINITE = [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("check", "possible"),
    [
        (check_int, [0, 1, 10**12]),
        (check_positive_int, [1, 2, 10**12]),
        (check_positive, [1, 1e-300, 2.5, 1e300]),
        (check_at_least, [0, 0.0, 1e-300, 7, 1e300]),
        (check_interval, [0, 0.0, 7, 1e300, math.inf]),
        (check_fraction, [0, 0.0, 0.5, 1 - 1e-15]),
        (check_probability, [0, 0.0, 0.5, 1, 1.0]),
    ],
)
def test_a_possible_value_is_returned_as_it_is(check, possible):
    for value in possible:
        returned = check("x", value)
        assert returned == value
        assert type(returned) is type(value)


@pytest.mark.parametrize(
    ("check", "allowed", "impossible"),
    [
        (check_int, "an integer of at least 0", [-1, 1.0, 0.5, *INFINITE]),
        (check_positive_int, "an integer of at least 1", [0, -1, 1.0, *INFINITE]),
        (check_positive, "a number above 0", [0, 0.0, -1, -1e-300, *INFINITE]),
        (check_at_least, "a number of at least 0", [-1, -1e-300, *INFINITE]),
        (check_interval, "a number of at least 0", [-1, -1e-300, -math.inf]),
        (check_fraction, "a number of at least 0 and below 1", [1, 1.0, 1.5, -1e-300, *INFINITE]),
        (check_probability, "a number from 0 to 1", [1 + 1e-15, -1e-300, 2, *INFINITE]),
    ],
)
def test_an_impossible_value_is_refused_in_one_sentence(check, allowed, impossible):
    for value in [*impossible, *NOT_NUMBERS]:
        with pytest.raises(ValueError, match=r"^model\.depth must be") as refused:
            check("model.depth", value)
        assert str(refused.value) == f"model.depth must be {allowed}, got {value!r}"


def test_lower_bounds_can_be_set():
    assert check_int("x", -3, at_least=-3) == -3
    with pytest.raises(ValueError, match=r"^x must be an integer of at least 2, got 1$"):
        check_int("x", 1, at_least=2)
    assert check_at_least("x", 2.5, 2.5) == 2.5
    with pytest.raises(ValueError, match=r"^x must be a number of at least 2\.5, got 2$"):
        check_at_least("x", 2, 2.5)


def test_a_choice_is_one_of_the_choices_with_its_type():
    for value in ("lstm", 18, 34, True):
        check_choice("x", value, ["lstm", 18, 34, True])
    for value in ("LSTM", "", 18.0, 1, None, False, ["lstm"]):
        with pytest.raises(ValueError, match=r"^x must be one of 'lstm', 18, 34, True, got") as refused:
            check_choice("x", value, ["lstm", 18, 34, True])
        assert str(refused.value).endswith(f"got {value!r}")
