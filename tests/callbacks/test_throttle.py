import pytest

from callbacks.throttle import Throttle


def test_due_at_first_and_after_each_interval():
    times = iter([100.0, 110.0, 119.9, 120.0, 139.0, 141.0])
    throttle = Throttle(20, clock=lambda: next(times))
    assert [throttle.due() for _ in range(6)] == [True, False, False, True, False, True]


def test_an_interval_of_zero_is_always_due():
    throttle = Throttle(0, clock=lambda: 7.0)
    assert [throttle.due() for _ in range(3)] == [True] * 3


def test_a_bad_interval_is_named():
    with pytest.raises(ValueError, match="every_n_seconds must be a number of at least 0, got -1"):
        Throttle(-1)
