"""Batch sizes are tried until one does not fit; the fastest and the largest are named."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from callbacks.run.throughput_file import write_throughput
from sweeps import training
from sweeps.batch_sizes import setting_of, sizes_of
from sweeps.series import run_series

FIT = ["fit", "--config", "quickstart/images.yaml"]


class Machine:
    """A machine that trains up to a batch size, at a speed per size."""

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.largest = 256
        self.examples = 10**6  # of the training data
        self.code = 1

    def follow(self, args: Sequence[str], folder: Path, look: training.Look) -> int:
        self.started.append(list(args))
        folder.mkdir(parents=True)
        size = next(int(arg.partition("=")[2]) for arg in args if arg.startswith("--data.batch_"))
        if size > self.largest:
            (folder / training.LOG).write_text("Traceback\ntorch.OutOfMemoryError: CUDA out of memory.\n")
            return self.code
        speed = {64: 1000, 128: 1900, 256: 1800}.get(size, 1)
        examples = 10 * min(size, self.examples)
        record = {"throughput": 1.0, "unit": "images", "steps": 20, "examples": 2 * examples}
        (folder / "run.json").write_text(json.dumps(record))
        compiling = 100 + examples / speed  # the larger the batch, the smaller its share
        rows = [(1, compiling, examples), (2, examples / speed, examples)]
        write_throughput(folder / "throughput.csv", "images", rows)
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.chdir(tmp_path)
    made = Machine()
    monkeypatch.setattr(training, "follow", made.follow)
    monkeypatch.setattr("sweeps.batch_sizes.print_config", lambda args: {"data": {"init_args": {"batch_size": 8}}})
    return made


def test_sizes_double_until_one_does_not_fit(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_series([*FIT, "--batch_sizes", "64..4096"]) == 0
    tried = [next(arg for arg in args if arg.startswith("--data")) for args in machine.started]
    assert tried == [f"--data.batch_size={size}" for size in (64, 128, 256, 512)]
    assert all("--trainer.limit_train_batches=10" in args and "--batch_sizes" not in args for args in machine.started)
    out = capsys.readouterr().out
    assert "data.batch_size 512: torch.OutOfMemoryError: CUDA out of memory.\n" in out
    assert "fastest: --data.batch_size 128; largest that worked: 256\n" in out
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("code", "words"), [(1, "CUDA out of memory"), (-9, "it was killed, perhaps because memory ran out")]
)
def test_a_first_size_that_fails_is_an_error(
    machine: Machine, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.largest, machine.code = 0, code
    assert run_series([*FIT, "--batch_sizes=64..128"]) == 2
    assert "oneforall: error: training with --data.batch_size 64 failed: " in (error := capsys.readouterr().err)
    assert words in error


def test_a_batch_larger_than_the_training_data_is_not_one_of_that_size(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.examples = 200
    assert run_series([*FIT, "--batch_sizes", "64..4096"]) == 0
    out = capsys.readouterr().out
    assert "data.batch_size 256: the training data have only 200 examples\n" in out
    assert "largest that worked: 128\n" in out


def test_text_has_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sweeps.batch_sizes.print_config", lambda args: {"data": {"init_args": {"batch_tokens": 9, "batch_size": 1}}}
    )
    assert setting_of([]) == ("data.batch_tokens", [])


def test_images_have_the_size_that_they_grow_to(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"init_args": {"batch_size": 8, "augmentation": {"progressive_sizes": [[0.5, 24]]}}}
    monkeypatch.setattr("sweeps.batch_sizes.print_config", lambda args: {"data": data})
    assert setting_of([]) == ("data.batch_size", ["--data.augmentation.progressive_sizes=null"])


def test_a_frozen_backbone_is_not_measured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = {"callbacks": [{"class_path": "callbacks.freeze_backbone.FreezeBackbone"}]}
    monkeypatch.setattr("sweeps.batch_sizes.print_config", lambda args: {"trainer": trainer})
    with pytest.raises(ValueError, match="FreezeBackbone would freeze all but the head"):
        setting_of([])


def test_a_range_is_tried_by_doubling() -> None:
    assert sizes_of("64..1024") == [64, 128, 256, 512, 1024]
    assert sizes_of("48..100") == [48, 96]
    assert sizes_of("7..7") == [7]


@pytest.mark.parametrize("given", ["64", "64..32", "0..4", "a..b"])
def test_no_range_is_a_mistake(machine: Machine, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_series([*FIT, "--batch_sizes", given]) == 2
    assert "must be a range such as 64..1024" in capsys.readouterr().err
    assert run_series(["test", "--batch_sizes", "1..2"]) == 2
    assert "--batch_sizes is a flag of fit, not of test" in capsys.readouterr().err
    assert not machine.started
