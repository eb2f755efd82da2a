import pytest

from callbacks.plots.metric_lines import read_columns, read_panels


@pytest.fixture
def metrics_csv(tmp_path):
    def write(text):
        path = tmp_path / "metrics.csv"
        path.write_text(text)
        return path

    return write


def test_panels_hand_computed(metrics_csv):
    path = metrics_csv(
        "epoch,step,val/accuracy,train/loss_step,train/loss_epoch,val/loss,lr,grad_norm/head,test/loss,train/x_step\n"
        "0,4,,9,,,,5,,1\n"
        "0,9,0.5,9,,2.0,0.1,7,,2\n"
        "0,9,,,3.0,,,,,\n"
        "1,19,0.75,,,nan,0.01,,8,\n"
        "1,19,,,1.5,,,,,\n"
        "2,20,0.8"  # a killed process's last line
    )
    assert read_panels(path) == {
        "loss": {"train": ([1, 2], [3.0, 1.5]), "val": ([1], [2.0])},
        "accuracy": {"val": ([1, 2, 3], [0.5, 0.75, 0.8])},
        "learning rate": {"lr": ([1, 2], [0.1, 0.01])},
        "gradient norm": {"head": ([0.5, 1.0], [5.0, 7.0])},
        "x": {"train": ([0.5, 1.0], [1.0, 2.0])},
    }


def test_rows_with_too_few_or_too_many_cells(metrics_csv):
    path = metrics_csv("epoch,step,val/loss\n0,1,2.0\n1\n1,2,3.0,4.0\n2,3,\n")
    assert read_columns(path) == {"val/loss": ([1, 2], [2.0, 3.0])}


def test_many_metrics_stay_readable(metrics_csv):
    columns = [f"val/accuracy_{index}" for index in range(100)]
    path = metrics_csv(f"epoch,step,{','.join(columns)},val/loss\n0,1,{','.join(['0.5'] * 101)}\n")
    panels = read_panels(path)
    assert len(panels) == 12
    assert next(iter(panels)) == "loss"


def test_what_a_power_cut_left_is_no_row(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step,val/loss\n0,9,0.5\n1,19,\xff\xfe\n1,19," + b"\0" * 200_000 + b"\n2,29,0.25\n")
    assert read_columns(path) == {"val/loss": ([1, 3], [0.5, 0.25])}
