import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from reports.charts import (
    MAX_POINTS,
    Chart,
    Series,
    calibration_error,
    confidence_chart,
    length_chart,
    reliability_chart,
    side_by_side,
    throughput_chart,
)
from utils.confidence_bins import FIXED_POINT, confidence_bins


def test_long_lines_are_thinned_and_keep_their_ends():
    x = list(range(5000))
    plain = Chart("t", "x", [Series("a", x, [value / 3 for value in x])]).plain()
    (line,) = plain["series"]
    assert len(line["x"]) == len(line["y"]) == MAX_POINTS
    assert (line["x"][0], line["x"][-1]) == (0, 4999)
    assert line["y"][-1] == 1666.33  # six digits


def test_the_calibration_error_of_the_bins_equals_torchmetrics():
    probabilities = torch.rand(500, 4, generator=torch.Generator().manual_seed(0)).mul(3).softmax(1)
    labels = torch.randint(0, 4, (500,), generator=torch.Generator().manual_seed(1))
    sums = torch.stack(confidence_bins(probabilities, labels)).t().tolist()
    bins = [
        {"examples": examples, "correct": correct, "confidence": confidence / FIXED_POINT / examples}
        for examples, correct, confidence in sums
        if examples
    ]
    expected = multiclass_calibration_error(probabilities, labels, num_classes=4, n_bins=15, norm="l1")
    assert calibration_error(bins) == pytest.approx(float(expected), abs=1e-6)
    accuracy, diagonal = reliability_chart(bins).series
    assert sum(y * each["examples"] for y, each in zip(accuracy.y, bins, strict=True)) == pytest.approx(
        int((probabilities.argmax(1) == labels).sum())
    )
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    (bars,) = confidence_chart(bins).series
    counts, edges = np.histogram(probabilities.max(1).values.numpy(), bins=len(bars.x), range=(0, 1))
    assert list(bars.y) == counts.tolist()
    assert list(bars.x) == pytest.approx((edges[:-1] + edges[1:]) / 2)


def test_the_histogram_of_lengths_equals_numpy():
    lengths = np.random.default_rng(0).integers(0, 200, 1000).tolist()
    (series,) = length_chart("words", {"output": lengths}).series
    width = series.x[1] - series.x[0]
    edges = [x - (width - 1) / 2 for x in series.x]
    counts, _ = np.histogram(lengths, bins=[*edges, edges[-1] + width])
    assert list(series.y) == counts.tolist()
    assert len(series.x) <= 25


def test_throughput_is_examples_per_second():
    chart = throughput_chart("images", [(1, 2.0, 100), (2, 0.0, 5), (3, 0.5, 100)])
    assert chart.title == "throughput, images per second"
    assert (list(chart.series[0].x), list(chart.series[0].y)) == ([1, 3], [50.0, 200.0])


def test_runs_share_a_chart_per_metric_validation_first():
    charts = side_by_side(
        {
            "a": {"train/loss": ([1], [2.0]), "val/loss": ([1], [3.0])},
            "b": {"val/loss": ([1], [4.0]), "test/loss": ([1], [5.0])},
        }
    )
    assert [(chart.title, [series.label for series in chart.series]) for chart in charts] == [
        ("val/loss", ["a", "b"]),
        ("train/loss", ["a"]),
    ]
