"""Each validation of a run is printed once, however often and whenever one looks."""

from pathlib import Path

import pytest

from sweeps.shown_validations import ShownValidations


def test_each_validation_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, file = ShownValidations(tmp_path, "val/x"), tmp_path / "metrics.csv"
    assert not shown.update()  # there is no file yet
    rows = ["epoch,step,val/x,train/loss", "0,9,0.5,", "0,9,,1.0", "1,19,0.75,", "2,29,0.25,"]
    printed = []
    for count in (2, 2, 3, 5, 5):
        file.write_text("\n".join(rows[:count]) + "\n")
        printed.append((shown.update(), capsys.readouterr().out))
    assert printed == [
        (True, "  epoch 1: val/x 0.5\n"),
        (False, ""),
        (False, ""),
        (True, "  epoch 2: val/x 0.75\n  epoch 3: val/x 0.25\n"),
        (False, ""),
    ]
    assert shown.values == [0.5, 0.75, 0.25]
