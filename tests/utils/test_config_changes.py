import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch  # noqa: F401 (a config names its classes)
from lightning.pytorch import Trainer

from utils.config_changes import MISSING, changes_from_defaults, config_changes, default_of


@dataclasses.dataclass(frozen=True)
class Options:
    size: int = 3
    names: tuple[str, ...] = ("a",)
    more: list[int] = dataclasses.field(default_factory=lambda: [1])


class Base:
    def __init__(self, seed: int = 0, folder: Path = Path("data")) -> None: ...


class Thing(Base):
    def __init__(
        self, needed: int, options: Options = Options(), pair: tuple[int, int] = (1, 2), **more: Any
    ) -> None: ...


@pytest.fixture(autouse=True)
def things(monkeypatch):
    """A module `things` with `Thing`, also under another name."""
    module = ModuleType("things")
    module.Thing = module.Alias = Thing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "things", module)


def thing(path: str = "things.Thing", **init_args: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": init_args}


def differences(old: Any, new: Any) -> list[str]:
    return [change.describe() for change in config_changes({"x": old}, {"x": new})]


def test_equal_things_compare_equal():
    assert differences(thing(needed=1), thing("things.Alias", needed=1)) == []
    assert differences(1, 1.0) == []
    assert differences([thing(needed=1)], thing(needed=1)) == []
    assert differences({"class_path": "things.Thing"}, thing()) == []
    assert differences(thing("nowhere.Thing", a=1), thing("nowhere.Thing", a=1)) == []
    assert "nowhere" not in sys.modules


def test_a_field_that_one_version_lacks_counts_as_its_default():
    old = thing(needed=1)
    same = {"pair": [1, 2], "seed": 0, "folder": "data", "options": {"size": 3, "names": ["a"], "more": [1]}}
    assert differences(old, thing(needed=1, **same)) == []
    assert differences(thing(needed=1, **same), old) == []  # this version does not have them
    assert differences(old, thing(needed=1, pair=[1, 3])) == ["x.pair [1, 2] -> [1, 3]"]
    assert differences(old, thing(needed=1, seed=4)) == ["x.seed 0 -> 4"]
    inner = thing(needed=1, options={"size": 3})
    assert differences(inner, thing(needed=1, options={"size": 3, "names": ["a"]})) == []
    assert differences(inner, thing(needed=1, options={"size": 3, "names": ["b"]})) == ["x.options.names [a] -> [b]"]
    assert differences(thing(), thing(needed=2)) == ["x.needed (unset) -> 2"]
    assert (
        config_changes({"trainer": {}}, {"trainer": {"max_steps": -1, "accelerator": "auto"}}, {"trainer": Trainer})
        == []
    )
    assert config_changes({}, {"a_new_section": {"x": 1}}) == []
    assert config_changes({"an_old_section": {"x": 1}}, {}) == []


def test_defaults_are_those_of_the_class_and_of_its_bases():
    assert default_of(Thing, "seed") == 0
    assert default_of(Thing, "folder") == "data"
    assert default_of(Thing, "options") == {"size": 3, "names": ["a"], "more": [1]}
    assert default_of(Options, "more") == [1]
    assert default_of(sys.modules["torch"].optim.SGD, "momentum") == 0


def test_classes_in_lists_are_compared_one_by_one_if_they_are_the_same():
    assert differences([thing(needed=1), thing(needed=2)], [thing(needed=1), thing(needed=3)]) == [
        "x.Thing.needed 2 -> 3"
    ]
    other = {"class_path": "things.Other"}
    assert differences([thing(needed=1)], [thing(needed=1), other]) == ["x [Thing] -> [Thing, Other]"]
    assert differences([thing(needed=1)], None) == ["x [Thing] -> null"]


def test_free_mappings_are_compared_by_key():
    assert differences({"a": 1, "b": 2}, {"a": 1, "c": 3}) == ["x.c (unset) -> 3", "x.b 2 -> (unset)"]


def test_values_are_shown_as_a_config_has_them():
    assert differences(None, True) == ["x null -> true"]
    assert differences("", "a b") == ["x '' -> a b"]
    assert differences(thing("one.Net"), thing("other.Net")) == ["x one.Net -> other.Net"]
    (text,) = differences([1], list(range(100)))
    assert len(text) < 100


def test_what_is_not_the_default_is_found_at_any_depth():
    config = {
        "seed_everything": 0,
        "name": None,
        "trainer": {"max_epochs": 3, "precision": None, "callbacks": [thing(needed=1, seed=7)]},
        "model": thing(needed=4, pair=[1, 2], seed=5, options={"size": 4, "names": ["a"], "more": [1]}),
    }
    found = {change.field: (change.old, change.new) for change in changes_from_defaults(config, {"trainer": Trainer})}
    assert found == {
        "seed_everything": (MISSING, 0),
        "trainer.max_epochs": (None, 3),
        "trainer.callbacks": (None, [thing(needed=1, seed=7)]),
        "trainer.callbacks.Thing.needed": (MISSING, 1),
        "trainer.callbacks.Thing.seed": (0, 7),
        "model": (MISSING, config["model"]),
        "model.needed": (MISSING, 4),
        "model.seed": (0, 5),
        "model.options.size": (3, 4),
    }
