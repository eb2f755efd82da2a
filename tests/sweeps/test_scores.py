"""The validations of a run, read from a file that a power cut has damaged, and the best of them."""

from pathlib import Path

from sweeps.scores import Monitor, Validation, best, validations


def test_what_a_power_cut_left_does_not_hide_the_validations(tmp_path: Path) -> None:
    rows = b"epoch,step,val/accuracy,train/loss\n0,9,0.5,\n1,19,0.75,nan\n"
    (tmp_path / "metrics.csv").write_bytes(rows + b"\xff\n" + bytes(200_000) + b"\n2,2")
    assert validations(tmp_path, "val/accuracy") == [
        Validation(1, {"val/accuracy": 0.5}),
        Validation(2, {"val/accuracy": 0.75}),
    ]


def test_the_best_validation_is_the_first_of_equal_ones() -> None:
    found = [Validation(epoch, {"val/x": value}) for epoch, value in enumerate([2.0, 1.0, 3.0, 1.0, 3.0], start=1)]
    assert best(found, Monitor("val/x", "max")) == found[2]
    assert best(found, Monitor("val/x", "min")) == found[1]
    assert best([], Monitor("val/x", "min")) is None
