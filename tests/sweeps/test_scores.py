"""The validations of a run, read from a file that a power cut has damaged."""

from pathlib import Path

from sweeps.scores import Validation, validations


def test_what_a_power_cut_left_does_not_hide_the_validations(tmp_path: Path) -> None:
    rows = b"epoch,step,val/accuracy,train/loss\n0,9,0.5,\n1,19,0.75,nan\n"
    (tmp_path / "metrics.csv").write_bytes(rows + b"\xff\n" + bytes(200_000) + b"\n2,2")
    assert validations(tmp_path, "val/accuracy") == [
        Validation(1, {"val/accuracy": 0.5}),
        Validation(2, {"val/accuracy": 0.75}),
    ]
