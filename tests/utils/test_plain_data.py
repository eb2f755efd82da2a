"""Types of nested plain data: what passes, and how the rest is named."""

from typing import Any

import pytest
import torch
from torch import Tensor

from utils.plain_data import check_entries, check_like


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (int, 3),
        (float, 3),
        (str | None, None),
        (list[str] | None, ["a"]),
        (dict[str, Tensor], {"a": torch.zeros(1)}),
        (dict[str, dict[str, Any]], {"a": {"b": 3}}),
        (Any, object()),
    ],
)
def test_what_is_of_its_type_passes(wanted, value):
    check_entries({"key": value, "other": 1}, {"key": wanted, "absent": int}, needed=("key",))


@pytest.mark.parametrize(
    ("wanted", "value", "words"),
    [
        (int, True, "key must be of type int, not bool"),
        (int, 2.0, "key must be of type int, not float"),
        (list[str] | None, 3, "key must be of type list, not int"),
        (list[int], [1, "b"], r"key\[1\] must be of type int, not str"),
        (dict[str, Tensor], {"a": 3}, r"key\.a must be of type Tensor, not int"),
        (dict[str, Any], {3: 3}, "the key '3' of key must be of type str, not int"),
    ],
)
def test_what_is_of_another_type_is_named(wanted, value, words):
    with pytest.raises(ValueError, match=words):
        check_entries({"key": value}, {"key": wanted}, needed=())


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"its entry state\.key is missing"):
        check_entries({}, {"key": int}, ("key",), "state")


def test_an_example_says_the_types_of_what_both_have():
    example = {"ready": 1, "last": False, "inner": {"x": 1}, "nothing": None}
    check_like({"ready": 7, "last": True, "inner": {}, "more": "x", "nothing": 3}, example, "loop")
    for found, words in (({"inner": {"x": "1"}}, r"loop\.inner\.x must be of type int"), ([], "loop must be of type")):
        with pytest.raises(ValueError, match=words):
            check_like(found, example, "loop")
