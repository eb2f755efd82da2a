"""Checkpoint files that are whole, truncated, hostile, foreign or of another format."""

import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.utils.checkpoint_files import can_be_resumed, truncate, write
from utils.checkpoints import (
    FORMAT,
    add_digests,
    check_format,
    explain_misfit,
    newest_intact_checkpoint,
    read_checkpoint,
    read_config,
)
from utils.error_text import first_few


class Hostile:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


# --- one file ------------------------------------------------------------------------------------------------------


def test_reads_what_was_written(tmp_path):
    checkpoint = read_checkpoint(str(write(tmp_path / "a.ckpt", epoch=3)))
    assert checkpoint["epoch"] == 3
    assert checkpoint["config"] == {"a": 1}
    assert torch.equal(checkpoint["state_dict"]["w"], torch.arange(4000.0))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt"):
        read_checkpoint(tmp_path / "nowhere.ckpt")


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    target = tmp_path / "it-ran"
    write(tmp_path / "new.ckpt", callbacks=Hostile(target))
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps({"state_dict": {}, "config": Hostile(target)}, protocol=2))
    for name in ("new.ckpt", "old.ckpt"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*run code"):
            read_checkpoint(tmp_path / name)
        assert not can_be_resumed(tmp_path / name)
        assert not target.exists()
    pickle.loads((tmp_path / "old.ckpt").read_bytes())  # the pickle does run code
    assert target.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_19970_21431_a_truncated_file_is_named(tmp_path, share):
    path = write(tmp_path / "a.ckpt")
    truncate(path, share)
    with pytest.raises(ValueError, match=r"a\.ckpt cannot be read"):
        read_checkpoint(path)
    assert not can_be_resumed(path)


@pytest.mark.parametrize("content", [{"w": torch.zeros(2)}, {"state_dict": {}}, [1, 2]])
def test_a_file_of_another_program_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(ValueError, match=r"theirs\.ckpt was not written by `oneforall fit`.*init_from"):
        read_checkpoint(tmp_path / "theirs.ckpt")


@pytest.mark.parametrize("missing", ["loops", "callbacks", "optimizer_states", "lr_schedulers"])
def test_weights_alone_cannot_be_resumed_from(tmp_path, missing):
    assert can_be_resumed(write(tmp_path / "whole.ckpt"))
    assert not can_be_resumed(write(tmp_path / "weights.ckpt", **{missing: None}))
    assert read_config(tmp_path / "weights.ckpt") == {"a": 1}  # but tested
    assert not can_be_resumed(tmp_path / "nowhere.ckpt")


def with_digests(**more: Any) -> dict[str, Any]:
    content = {"state_dict": {"w": torch.arange(4000.0), "b": torch.ones(3)}, **more}
    add_digests(content)
    return content


@pytest.mark.parametrize("where", [0.5, 0.75])
def test_a_hole_in_a_file_is_noticed_and_the_tensor_named(tmp_path, where):
    tensors = [torch.full((5000,), float(number)) for number in range(1, 5)]
    momenta = {"state": {0: {"momentum": tensors[2]}, 1: {"momentum": tensors[3]}}}
    weights = {"conv.weight": tensors[0], "view": tensors[0][:3], "fc.weight": tensors[1]}
    path = write(tmp_path / "a.ckpt", state_dict=weights, optimizer_states=[momenta])
    content = path.read_bytes()
    name = "state_dict.fc.weight" if where == 0.5 else "optimizer_states.0.state.1.momentum"
    start = content.index(tensors[1 if where == 0.5 else 3].numpy().tobytes())
    path.write_bytes(content[:start] + bytes(8192) + content[start + 8192 :])
    with pytest.raises(ValueError, match=rf"a\.ckpt cannot be read \(it is damaged: the checksum of {name} is wrong\)"):
        read_config(path)
    assert torch.load(path, weights_only=True)["epoch"] == 0  # torch does not notice


def test_weights_altered_and_saved_again_are_noticed_and_named(tmp_path):
    assert read_config(write(tmp_path / "a.ckpt", **with_digests())) == {"a": 1}
    altered = with_digests()
    altered["state_dict"]["b"][1] += 1e-6
    with pytest.raises(ValueError, match=r"a\.ckpt cannot be read \(b of its weights was altered .*`digests`"):
        read_checkpoint(write(tmp_path / "a.ckpt", **altered))
    fewer = with_digests()
    del fewer["state_dict"]["b"]
    with pytest.raises(ValueError, match=r"\(b is missing from its weights"):
        read_checkpoint(write(tmp_path / "a.ckpt", **fewer))


def test_a_training_state_altered_and_saved_again_is_noticed(tmp_path):
    """Lightning restores whatever it is, and the training would fail or go astray later."""

    def state(momentum: Any) -> dict[str, Any]:
        return {"optimizer_states": [{"state": {0: {"momentum": momentum}}}], "lr_schedulers": [], "callbacks": {}}

    whole = with_digests(**state(torch.ones(3)))
    assert can_be_resumed(write(tmp_path / "last.ckpt", **whole))
    for other in ("x", torch.ones(3, dtype=torch.float64), torch.ones(1, 3), torch.tensor([1.0, 1.0, 2.0])):
        path = write(tmp_path / "checkpoints" / "last.ckpt", **{**whole, **state(other)})
        assert read_config(path) == {"a": 1}  # of no concern to a test
        with (
            pytest.warns(
                UserWarning, match=r"last\.ckpt is damaged and is skipped: .* entry optimizer_states was alter"
            ),
            pytest.raises(ValueError, match=r"is intact; .*\(checkpoint .*optimizer_states was altered"),
        ):
            newest_intact_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_and_named(tmp_path, value):
    weights = {"w": torch.zeros(3), "bn.running_var": torch.tensor([1.0, value])}
    with pytest.raises(ValueError, match=r"a\.ckpt cannot be read \(bn\.running_var holds values that are infinite"):
        read_checkpoint(write(tmp_path / "a.ckpt", state_dict=weights))


def test_a_pointer_of_git_lfs_is_named_as_what_it_is(tmp_path):
    (tmp_path / "a.ckpt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n")
    with pytest.raises(ValueError, match=r"a\.ckpt is a pointer of git-lfs.*`git lfs pull`"):
        read_checkpoint(tmp_path / "a.ckpt")


WRONG: dict[str, list] = {
    "state_dict": [[torch.zeros(2)], {"w": 3}, {3: torch.zeros(2)}, "w"],
    "digests": [3, {"w": 3}],
    "config": ["a: 1", [1], torch.zeros(2)],
    "format": [{"a": 1}, "2", 2.0, torch.zeros(3), True],
    "pytorch-lightning_version": [3, "newest", "", "1.2.0"],
    "loops": [[], {"fit_loop": 3}, 3],
    "callbacks": [[], "none"],
    "optimizer_states": [{}, ["sgd"], torch.zeros(2)],
    "lr_schedulers": [{}, [3]],
    "epoch": ["3", 1.5, True],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_an_entry_of_another_type_is_named_in_one_line(tmp_path, key, value):
    path = write(tmp_path / "a.ckpt", **{key: value} if key != "epoch" else {})
    if key == "epoch":
        path = write(tmp_path / "a.ckpt", epoch=value)
    with pytest.raises(ValueError, match=rf"a\.ckpt.*{key}") as refused:
        read_config(path)
    assert "\n" not in str(refused.value)
    assert not can_be_resumed(path)


def test_a_checkpoint_without_lightnings_version_is_refused(tmp_path):
    """Lightning's own migration would end in a KeyError."""
    with pytest.raises(ValueError, match=r"its entry pytorch-lightning_version is missing"):
        read_config(write(tmp_path / "a.ckpt", **{"pytorch-lightning_version": None}))


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container in nested data with each of its keys."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield content, key
            yield from places(value)


def test_whatever_is_malformed_ends_in_one_line(tmp_path):
    """Entries removed, exchanged for other types or renamed at random: read, or refused in one line."""
    write(tmp_path / "whole.ckpt", **with_digests(loops={"fit_loop": {"total": {"ready": 1}}}, metrics_rows=[3]))
    others: list[Any] = [None, 3, -1.5, "text\n", [], {}, [[{}]], torch.zeros(2), {"a": {"b": 1}}, True, (1, 2)]
    draw, refused = random.Random(0), list[str]()
    for _ in range(300):
        content = torch.load(tmp_path / "whole.ckpt", weights_only=True)
        container, key = draw.choice(list(places(content)))
        if draw.random() < 0.3:
            del container[key]
        elif draw.random() < 0.2 and isinstance(container, dict):
            container[draw.choice(["other\nname", 7, ()])] = container.pop(key)
        else:
            container[key] = draw.choice(others)
        torch.save(content, tmp_path / "a.ckpt")
        try:
            read_config(tmp_path / "a.ckpt")
        except ValueError as error:
            refused.append(str(error))
        can_be_resumed(tmp_path / "a.ckpt")
    assert len(refused) > 100
    assert all("a.ckpt" in message and "\n" not in message for message in refused)


def test_whatever_is_damaged_ends_in_one_line(tmp_path):
    path = write(tmp_path / "a.ckpt", **with_digests(state_dict={"w": torch.arange(8.0)}))
    whole, draw, refused = path.read_bytes(), random.Random(0), list[str]()
    for _ in range(300):
        start = draw.randrange(len(whole))
        hole = draw.choice([b"", bytes(draw.randrange(1, 300)), draw.randbytes(4)])
        path.write_bytes(whole[:start] + hole + (whole[start + len(hole) :] if hole else b""))
        try:
            assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.arange(8.0))
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all("a.ckpt" in message and "\n" not in message for message in refused)


def test_flipped_bits_are_noticed_wherever_they_are(tmp_path):
    """In whatever passes, every value is right."""
    path = write(tmp_path / "a.ckpt")
    whole, noticed = path.read_bytes(), 0
    draw = random.Random(0)
    ends = [*range(60), *range(len(whole) - 400, len(whole))]  # the structure of the zip archive
    for position in ends + draw.sample(range(len(whole)), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        if can_be_resumed(path):
            checkpoint = read_checkpoint(path)
            assert torch.equal(checkpoint["state_dict"]["w"], torch.arange(4000.0)), position
        else:
            noticed += 1
    assert noticed > 100


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "words"),
    [(None, "an earlier version .*format 1,"), (1, "an earlier version .*format 1,"), (FORMAT + 1, "another version")],
)
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(tmp_path, found, words):
    path = write(tmp_path / "a.ckpt", format=found)
    assert read_checkpoint(path)["epoch"] == 0  # for its weights
    with pytest.raises(ValueError, match=rf"a\.ckpt was written by {words}.*--model\.init_from {path}") as refused:
        read_config(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=words):
        check_format(read_checkpoint(path), path)


def test_a_checkpoint_of_this_format_gives_its_config(tmp_path):
    path = write(tmp_path / "a.ckpt", config={"model": {"seed": 3}})
    assert read_config(path) == {"model": {"seed": 3}}
    check_format(read_checkpoint(path), path)


# --- messages ------------------------------------------------------------------------------------------------------


def test_the_first_problems_and_the_number_of_the_others_are_one_line():
    assert first_few(["a", "b", "c"]) == "a; b; c"
    assert first_few(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"
    assert first_few(["a", "b"], shown=1) == "a; and 1 more"


def test_weights_that_do_not_fit_are_named():
    net, other = torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.nn.Sequential(torch.nn.Linear(2, 4))
    weights = {**net.state_dict(), "7.weight": torch.zeros(1)}
    del weights["0.bias"]
    with pytest.raises(RuntimeError) as raised:
        other.load_state_dict(weights)
    explained = explain_misfit("a.ckpt", raised.value)
    assert explained is not None
    assert "\n" not in explained
    assert all(
        word in explained for word in ("a.ckpt", "missing 0.bias", "unexpected 7.weight", "mismatch for 0.weight")
    )
    assert explain_misfit("a.ckpt", RuntimeError("CUDA out of memory")) is None
    assert explain_misfit("a.ckpt", RuntimeError()) is None
