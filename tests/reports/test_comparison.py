from statistics import stdev

import pytest

from reports.comparison import compare
from reports.comparison_page import as_text, write_page
from tests.reports.run_folders import HOSTILE, METRICS, put
from tests.reports.test_run_report import Page, assert_safe, points


@pytest.fixture
def three(fitted):
    """Two seeds of one config, and a run with another learning rate."""
    runs = [fitted("a"), fitted("b", seed=1), fitted("c", seed=1, label=HOSTILE)]
    for run, accuracy in zip(runs, (0.8, 0.9, 0.7), strict=True):
        put(run / "test_metrics.json", {"test/loss": 0.5, "test/accuracy": accuracy, "test/class_accuracy/cat": 1.0})
    (runs[1] / "metrics.csv").write_text(METRICS.replace("0.9,0.5,0.0", "0.95,0.5,0.0"))
    return runs


def test_scores_groups_and_differences(three):
    found = compare(three)
    assert found.header == ["best val/accuracy", "test/accuracy", "test/loss", "epochs", "time", "parameters"]
    assert found.rows["a"] == ["0.9000", "0.8000", "0.5000", "3", "1 min 05 s", "1,234"]
    (group,) = found.groups
    assert group.runs == ["a", "b"]
    assert group.scores["test/accuracy"] == f"0.8500 ± {stdev([0.8, 0.9]):.4f}"
    assert found.differences == {
        "seed_everything": {"0": ["a"], "1": ["b", "c"]},
        "model.label": {"(unset)": ["a", "b"], f"{HOSTILE}": ["c"]},
    }


def test_a_mean_is_that_of_all_seeds_or_missing(fitted):
    runs = [fitted("a"), fitted("b", seed=1), fitted("c", seed=2), fitted("again", seed=1)]
    for run in runs[:2]:
        put(run / "test_metrics.json", {"test/accuracy": 0.8})
    (group,) = compare(runs).groups
    assert group.runs == ["a", "b", "c"]  # a seed that is there twice would count twice
    assert "test/accuracy" not in group.scores
    assert "best val/accuracy" in group.scores


def test_the_table_in_a_terminal(three):
    lines = list(as_text(compare(three)))
    assert lines[0].split("  ")[0] == "run"
    assert [line.split()[0] for line in lines[1:5]] == ["a", "b", "c", "mean"]
    assert "seeds of one config: a, b (mean ± sample standard deviation)" in lines
    assert "  seed_everything  0 (a); 1 (b, c)" in lines


def test_a_table_that_is_too_wide_for_the_terminal_has_a_row_per_score(three):
    comparison = compare(three)
    wide = list(as_text(comparison))
    assert list(as_text(comparison, len(wide[0]))) == wide
    narrow = list(as_text(comparison, len(wide[0]) - 1))
    assert narrow[0].split() == ["run", "a", "b", "c", "mean", "of", "2", "seeds"]
    assert [line.split("  ")[0] for line in narrow[1 : 1 + len(comparison.header)]] == comparison.header
    assert narrow[1 + len(comparison.header) :] == wide[5:]


def test_runs_without_config_or_metrics_are_no_error(fitted, tmp_path):
    other = tmp_path / "other" / "run"
    other.mkdir(parents=True)
    (other / "metrics.csv").write_text("epoch,step\n")
    found = compare([fitted("run"), other])
    assert set(found.rows) == {str(tmp_path / "run"), str(other)}  # both are called run
    assert found.rows[str(other)] == ["-", "-", "-", "-"]
    assert list(as_text(found))[-1] == "not every run has a config.yaml to compare"


def test_the_page_has_curves_side_by_side(three, tmp_path):
    page_file = tmp_path / "pages" / "compare.html"
    write_page(compare(three), page_file)
    page = Page(page_file)
    assert_safe(page)
    assert [each["label"] for each in page.charts["val/accuracy"]["series"]] == ["a", "b", "c"]
    assert points(page.charts["val/accuracy"], "b") == ([1, 2, 3], [0.5, 0.8, 0.95])
    assert HOSTILE in page.text
    assert "mean of 2 seeds" in page.text
    assert page.links == ["../a", "../b", "../c"]
