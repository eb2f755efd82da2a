import csv
import math
import random
import struct
from pathlib import Path

import pytest

from callbacks.run.metrics_csv import MetricsCSV


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_logged_at_one_step_shares_a_row(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"epoch": 0.0, "train/loss": 1.5}, step=4)
    log.log_metrics({"epoch": 0.0, "val/loss": 2.0, "lr": 0.1}, step=4)
    log.log_metrics({"epoch": 1.0, "train/loss": 0.5}, step=9)
    log.save()
    assert (tmp_path / "metrics.csv").read_text() == ("epoch,step,train/loss,val/loss,lr\n0,4,1.5,2.0,0.1\n1,9,0.5,,\n")


def test_a_later_value_of_the_same_step_wins(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"a": 1.0}, step=1)
    log.log_metrics({"a": 2.0}, step=1)
    log.save()
    assert read(tmp_path) == [{"epoch": "", "step": "1", "a": "2.0"}]


def test_a_new_metric_becomes_a_new_column(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"a": 1.0}, step=1)
    log.save()
    log.log_metrics({"b": 2.0}, step=2)
    log.save()
    assert read(tmp_path) == [
        {"epoch": "", "step": "1", "a": "1.0", "b": ""},
        {"epoch": "", "step": "2", "a": "", "b": "2.0"},
    ]


def test_a_resumed_run_that_fails_before_its_first_row_leaves_the_earlier_ones(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n0,1,1.0\n")
    MetricsCSV(str(tmp_path)).finalize("failed")  # as Lightning does on any error
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,a\n0,1,1.0\n"


def test_a_damaged_file_is_not_written_over(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n0,1,one\n")
    log = MetricsCSV(str(tmp_path))
    for attempt in (log.load, log.save):
        with pytest.raises(ValueError, match="line 2 is damaged"):
            attempt()
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,a\n0,1,one\n"


def test_continues_the_file_it_finds(tmp_path):
    first = MetricsCSV(str(tmp_path))
    first.log_metrics({"epoch": 0, "a": 1.0}, step=1)
    first.save()
    second = MetricsCSV(str(tmp_path))
    second.log_metrics({"b": 3.0}, step=1)  # the rest of a row
    second.log_metrics({"epoch": 1, "a": 2.0}, step=2)
    second.save()
    assert read(tmp_path) == [
        {"epoch": "0", "step": "1", "a": "1.0", "b": "3.0"},
        {"epoch": "1", "step": "2", "a": "2.0", "b": ""},
    ]


def test_every_digit_survives_being_continued(tmp_path):
    draw = random.Random(0)
    values = [struct.unpack("d", draw.randbytes(8))[0] for _ in range(200)]
    values = [value for value in values if math.isfinite(value)] + [0.1, 1 / 3, 1e-320, -0.0, math.inf, -math.inf]
    values.append(struct.unpack("f", struct.pack("f", 0.1))[0])  # a float32, as metrics are
    log = MetricsCSV(str(tmp_path))
    for step, value in enumerate(values):
        log.log_metrics({"epoch": step, "a": value}, step=step)
    log.save()
    written = (tmp_path / "metrics.csv").read_bytes()
    again = MetricsCSV(str(tmp_path))
    again.load()
    again.save()
    assert (tmp_path / "metrics.csv").read_bytes() == written
    assert [struct.pack("d", row["a"]) for row in again.rows] == [struct.pack("d", value) for value in values]


def test_nan_is_written_and_read(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"a": math.nan}, step=0)
    log.save()
    again = MetricsCSV(str(tmp_path))
    again.load()
    assert math.isnan(again.rows[0]["a"])


def test_keep_rows_drops_rows_and_the_columns_that_only_they_had(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_metrics({"epoch": 0, "a": 1.0}, step=1)
    log.log_metrics({"epoch": 0, "late": 1.0}, step=2)
    log.log_metrics({"epoch": 1, "b": 1.0}, step=3)
    log.save()
    again = MetricsCSV(str(tmp_path))
    again.keep_rows(1)
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,a\n0,1,1.0\n"  # at once, not at the next save
    again.log_metrics({"epoch": 1, "b": 2.0}, step=3)
    again.save()
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,a,b\n0,1,1.0,\n1,3,,2.0\n"
    again.keep_rows(0)
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step\n"


def test_keep_rows_makes_no_file(tmp_path):
    MetricsCSV(str(tmp_path)).keep_rows(0)
    assert not list(tmp_path.iterdir())


def test_no_file_before_something_is_saved(tmp_path):
    log = MetricsCSV(str(tmp_path))
    log.log_hyperparams({"a": 1})
    log.log_metrics({"a": 1.0}, step=0)
    assert not list(tmp_path.iterdir())
    assert log.log_dir == log.save_dir == str(tmp_path)


@pytest.mark.parametrize("line", ["0,2,0.5,1.0", "0,2,0.4x", "0,\0\0", "zero,2,0.5"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.csv"
    path.write_text(f"epoch,step,a\n0,1,1.0\n{line}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv line 3 is damaged"):
        MetricsCSV(str(tmp_path)).load()
    assert path.read_text().endswith(line + "\n")


def test_a_file_without_anything_new_stays_byte_for_byte(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n0,1,1\n0,2,0.50\n")
    log = MetricsCSV(str(tmp_path))
    log.save()
    log.keep_rows(2)
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,a\n0,1,1\n0,2,0.50\n"
