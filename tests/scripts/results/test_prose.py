"""Every figure in the prose of RESULTS.md, of README.md and of configs is in a table of RESULTS.md."""

from pathlib import Path

import pytest

from scripts.results.prose import citing, figures, promise, tables_and_prose, unsupported

ROOT = Path(__file__).parents[3]
TABLES, PROSE = tables_and_prose((ROOT / "RESULTS.md").read_text(encoding="utf-8"))
CONFIGS = [path for path in sorted((ROOT / "configs").rglob("*.yaml")) if promise(path.read_text(encoding="utf-8"))]

TABLE = "| Net | 7,557,632 | 40.6M | 34 min | 89.68 ± 0.12 | `39.20` | 1.668 |"


def test_of_the_results() -> None:
    assert unsupported(PROSE, TABLES) == []


def test_of_the_readme() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    reached = page[page.index("**What it reaches.**") : page.index("**When not to use it.**")]
    assert len(list(figures(reached))) >= 8
    assert unsupported(citing(page, "RESULTS.md") + reached, TABLES) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT / "configs").as_posix())
def test_of_what_a_config_gives(path: Path) -> None:
    assert unsupported(promise(path.read_text(encoding="utf-8")), TABLES) == []


@pytest.mark.parametrize(
    "text",
    [
        "It reached 89.68% and 89.7 after 34 minutes, in a 34-minute run with 7.6M parameters and 40.6M multiply-adds.",
        "A spread of 0.12 and 1.67 bits.",
        "The paper has 41.02 (Wu et al. 2021). And 94.1% at github.com/a/b; and 12.3 in arXiv:1234.56789.",
        "With `--model.temperature 0.5`, torch 2.11, Python 3.11 or 3.12, version 2.15.0 and 16 epochs of ResNet-20.",
        "It gives >= 98% in <= 20 minutes, see [the log](a/1.5.md).",
        "```\noneforall fit --model.optimizer.lr 0.123\n```",
    ],
)
def test_what_is_known_or_no_figure_passes(text: str) -> None:
    assert unsupported(text, TABLE) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("It reached 89.69 and 89.6.", ["89.69", "89.6"]),
        ("It reached 89.680.", ["89.680"]),  # more digits than the table has
        ("It took 35 minutes.", ["35 minutes"]),
        ("It took 40.6 minutes.", ["40.6 minutes"]),  # multiply-adds are not minutes
        ("It has 7.5M parameters.", ["7.5M"]),
        ("It reached 90%.", []),  # as 89.68 rounded to a whole number
        ("It reached 91%.", ["91%"]),
        ("It reached 39.20.", ["39.20"]),  # code in a table is not a figure
        ("| Net | 41.02 | 41.03 (Wu et al. 2021) | 7.5M |", ["41.02", "7.5M"]),
        ("Ours has 41.02. Theirs has 41.03 (Wu et al. 2021).", ["41.02"]),
    ],
)
def test_what_no_table_has_is_found(text: str, missing: list[str]) -> None:
    assert unsupported(text, TABLE) == missing


def test_the_promise_of_a_config_is_one_sentence() -> None:
    config = (
        "# A net.\n# Gives: 38.77 BLEU (13a) after\n# 48 minutes (RESULTS.md). 7.6M parameters.\nmodel: null  # Gives\n"
    )
    assert promise(config) == "Gives: 38.77 BLEU (13a) after 48 minutes (RESULTS.md)"
    assert promise("# A net.\nmodel: null\n") == ""


def test_figures_are_those_with_a_point_a_percent_sign_or_a_unit() -> None:
    assert [figure.text for figure in figures("12 runs, 1.5, 3%, 4 %, 1,017 images, 5 min, 2M, 1,234.5")] == [
        "1.5",
        "3%",
        "4 %",
        "5 min",
        "2M",
        "1,234.5",
    ]
