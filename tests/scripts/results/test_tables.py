"""RESULTS.md is what its files give, and a table says what its runs are."""

from pathlib import Path

import pytest

from scripts.results.plots import PLOTS
from scripts.results.runs import RESULTS, read_runs
from scripts.results.tables import content, rebuild
from tests.scripts.results.published import publish

PAGE = Path(__file__).parents[3] / "RESULTS.md"


def test_the_committed_page_is_what_the_files_give() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rebuild(page, read_runs()) == page, "run `make results`"


def test_every_plot_of_the_page_is_there() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in PLOTS:
        assert f"](results/{name})" in page
        assert (RESULTS / name).is_file()


def cells(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_seeds_of_a_row_become_their_mean_and_standard_deviation(tmp_path: Path) -> None:
    """0.90, 0.91 and 0.95 have the mean 0.92, and the squares of their differences add up to 14 in the last digit."""
    runs = [
        publish(tmp_path, f"net-{seed}", accuracy, seed=seed, commits=[commit], seconds=seconds)
        for seed, accuracy, commit, seconds in ((1, 0.95, "b", 1260), (0, 0.90, "a", 1200), (2, 0.91, "b", 1320))
    ]
    (row,) = cells(content("equal_time", runs))
    assert row[:6] == ["Net", "1,234,567", "40.6M", "2", "21 min", f"92.00 ± {7**0.5:.2f}"]
    assert row[7] == "80.00 ± 0.00"
    assert row[-2:] == ["0, 1, 2", "`a`, `b`"]


def test_a_figure_that_one_seed_lacks_is_left_out(tmp_path: Path) -> None:
    publish(tmp_path, "a", 0.9)
    publish(tmp_path, "b", 0.8, seed=1)
    (tmp_path / "b" / "test_metrics_originals.json").unlink()
    (row,) = cells(content("equal_time", read_runs(tmp_path)))
    assert row[5] == "85.00 ± 7.07"
    assert row[7] == ""


def test_rows_are_ordered_by_score_and_those_out_of_date_are_marked(tmp_path: Path) -> None:
    runs = [
        publish(tmp_path, "a", 0.8, row="Old", outdated="the recipe has changed"),
        publish(tmp_path, "b", 0.9, row="New"),
    ]
    table = content("equal_time", runs)
    assert [(row[0], row[-1]) for row in cells(table)] == [("New", "`abc1234`"), ("Old", "`abc1234` †")]
    assert "† Made at this commit; the recipe has changed. The row waits for its re-run." in table
    # 0.8 x 0.2 / 25 is the square of 0.08
    assert "standard error of an accuracy is up to 8.0 points" in table
    assert "†" not in content("equal_time", runs[1:])


def test_a_run_without_a_place_in_the_page_is_an_error(tmp_path: Path) -> None:
    runs = [publish(tmp_path, "a", 0.8)]
    with pytest.raises(ValueError, match=r"results/a/run\.json: .* <!-- table: equal_time -->"):
        rebuild("# Results\n", runs)
    with pytest.raises(ValueError, match="place for a table equal_tim;"):
        rebuild("<!-- table: equal_tim -->\n<!-- end -->\n", [])


def test_a_record_that_lacks_a_field_is_an_error_that_names_it(tmp_path: Path) -> None:
    publish(tmp_path, "a", 0.8)
    (tmp_path / "a" / "run.json").write_text('{"table": "cifar10"}')
    with pytest.raises(ValueError, match=r"run\.json has no row, seed, .*scripts\.results\.collect"):
        read_runs(tmp_path)


def test_only_the_places_of_tables_change(tmp_path: Path) -> None:
    page = (
        "before\n<!-- table: cifar10 -->\nold\n<!-- end -->\nbetween\n<!-- table: equal_time -->\n<!-- end -->\nafter\n"
    )
    new = rebuild(page, [publish(tmp_path, "a", 0.8)])
    assert "old" not in new
    assert new.startswith(
        "before\n<!-- table: cifar10 -->\n\nNo run of this table is published yet.\n\n<!-- end -->\nbetween"
    )
    assert new.endswith("<!-- end -->\nafter\n")
    assert rebuild(new, read_runs(tmp_path)) == new


def test_the_time_of_an_epoch_is_the_recorded_one(tmp_path: Path) -> None:
    assert publish(tmp_path, "a", 0.8).minutes_after([1, 2]) == [10, 20]  # of before: even
    run = publish(tmp_path, "b", 0.8, epoch_seconds={"1": 300, "2": 1200})
    assert run.minutes_after([1, 2]) == [5, 20]
