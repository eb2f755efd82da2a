"""Values in the config of a checkpoint: their types, and that they are plain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.optim import Optimizer

from utils.checkpoint_config import taken_config
from utils.trust import Refusal, admit, plain


@dataclass
class Point:
    x: float
    names: list[str]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),
        (None, int | None),
        ("flip", Literal["none", "flip"]),
        ([1, 2.5], tuple[float, float]),
        ([1, 2, 3], tuple[int, ...]),
        (["a"], Sequence[str]),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, Mapping[str, int]),
        ({"x": 1.0, "names": ["a"]}, Point),
        ("data", Path),
        (None, Callable[[int], Optimizer] | None),
        (3, Any),
    ],
)
def test_a_value_of_the_right_type_stays_as_it_is(value: Any, hint: Any) -> None:
    assert admit(value, hint, "field") == value


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("1", int),
        (True, int),
        (1.5, int),
        (1, bool),
        (1, str),
        ("other", Literal["none", "flip"]),
        (True, Literal[1]),
        ("os.system", list[str]),
        ([["a"]], list[str]),
        ("os.system", dict[str, int]),
        ({"a": "b"}, dict[str, int]),
        ({"x": "os.system"}, Point),
        ({"z": 1}, Point),
        ("os.system", Any),
        ({"class_path": "os.system"}, Any),
        ("os.system", object),
        ("os.system", type[Optimizer]),
        ("os.system", Callable[[int], float]),
        ("torch.optim.SGD", Callable[[int], Optimizer]),
        ("os.system", int | torch.Tensor),
        ({"class_path": "torch.Tensor"}, int | torch.Tensor),
    ],
)
def test_a_value_of_another_type_is_refused(value: Any, hint: Any) -> None:
    with pytest.raises(Refusal, match=r"^field"):
        admit(value, hint, "field")


@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, {"a": {1: 2}}, {"a": {1, 2}}, [1], None, "text"])
def test_a_config_of_anything_but_plain_values_is_damaged(content: Any) -> None:
    with pytest.raises(ValueError, match=r"config in checkpoint a\.ckpt is damaged"):
        taken_config(content, "test", "a.ckpt")


def test_a_config_without_an_end_is_refused_at_once() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    many: list[Any] = []
    for _ in range(20):
        many = [many, many]
    for content in (endless, many):
        with pytest.raises(Refusal, match="nested too deeply or has too many values"):
            plain(content)


def test_plain_values_are_copied() -> None:
    content = {"a": [1, (2.5, None)], "b": {"c": "d", "e": True}}
    assert plain(content) == {"a": [1, [2.5, None]], "b": {"c": "d", "e": True}}
    assert plain(content)["b"] is not content["b"]
