"""What `conftest.py` does for every test."""

import os

import pytest


@pytest.mark.parametrize("turn", [1, 2])
def test_a_variable_set_by_a_test_is_gone_in_the_next(turn: int) -> None:
    assert "MASTER_ADDR" not in os.environ
    os.environ["MASTER_ADDR"] = f"machine{turn}"
