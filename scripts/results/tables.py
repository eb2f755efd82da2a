"""The tables of RESULTS.md, from the published runs.

A column is a heading and a function from the runs of a row to the text of the cell. Where a row has several runs, a
figure is their mean and, after ±, their standard deviation.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev

from callbacks.text_lines import markdown_table
from scripts.results.runs import Run, rows_of

Value = Callable[[Run], float | None]
Column = tuple[str, Callable[[Sequence[Run]], str]]

BEGIN, END = "<!-- table: {} -->", "<!-- end -->"
PLACE = re.compile(f"{BEGIN.format('([a-z0-9_]+)')}(.*?){END}", re.DOTALL)
"""A place for a table in a page: its name, and what is there now."""
OUTDATED = "†"


def figure(value: Value, digits: int = 2) -> Callable[[Sequence[Run]], str]:
    """Return the cell of a figure: blank unless every run of the row has it."""

    def cell(runs: Sequence[Run]) -> str:
        values = [number for run in runs if (number := value(run)) is not None]
        if len(values) < len(runs):
            return ""
        spread = f" ± {stdev(values):,.{digits}f}" if len(values) > 1 else ""
        return f"{mean(values):,.{digits}f}{spread}"

    return cell


def percent(file: str, metric: str) -> Value:
    """Return the value of a share in percent."""
    return lambda run: None if (share := run.figure(file, metric)) is None else 100 * share


def score(metric: str, file: str = "test_metrics") -> Value:
    """Return the value of a figure as the file has it."""
    return lambda run: run.figure(file, metric)


def size(field: str) -> Callable[[Sequence[Run]], str]:
    """Return the cell of a count in `run.json` that all runs of a row share."""
    return lambda runs: f"{runs[0].record[field]:,}"


def multiply_adds(runs: Sequence[Run]) -> str:
    """Return the cell of the multiply-adds per image, in millions."""
    return f"{runs[0].record['multiply_adds'] / 1e6:.1f}M"


def minutes(runs: Sequence[Run]) -> str:
    """Return the cell of the time of training and validation."""
    return f"{mean(run.minutes for run in runs):.0f} min"


def seeds(runs: Sequence[Run]) -> str:
    """Return the cell of the seeds."""
    return ", ".join(str(run.record["seed"]) for run in runs)


def commits(runs: Iterable[Run]) -> str:
    """Return the cell of the commits, with a mark if the row waits for its re-run."""
    runs = list(runs)
    named = dict.fromkeys(f"`{commit}`" for run in runs for commit in run.record["commits"])
    return ", ".join(named) + (f" {OUTDATED}" if any("outdated" in run.record for run in runs) else "")


MADE: list[Column] = [("seed", seeds), ("commit", commits)]

IMAGES: list[Column] = [
    ("network", lambda runs: runs[0].record["row"]),
    ("parameters", size("parameters")),
    ("multiply-adds", multiply_adds),
    ("epochs", size("epochs")),
    ("time", minutes),
    ("test accuracy", figure(percent("test_metrics", "test/accuracy"))),
    ("with TTA", figure(percent("test_metrics", "test/accuracy_tta"))),
    ("1,017 originals", figure(percent("test_metrics_originals", "test/accuracy"))),
    ("with TTA", figure(percent("test_metrics_originals", "test/accuracy_tta"))),
    *MADE,
]

TRANSLATION: list[Column] = [
    ("from, to", lambda runs: runs[0].record["row"]),
    ("parameters", size("parameters")),
    ("epochs", size("epochs")),
    ("time", minutes),
    ("val BLEU (greedy, 500)", figure(lambda run: run.best("val/bleu"))),
    ("test BLEU", figure(score("test/bleu"))),
    ("test chrF2", figure(score("test/chrf"))),
    ("lower-cased, Moses tokens", figure(score("bleu", "moses_bleu"))),
    *MADE,
]

SUMMARIES: list[Column] = [
    ("trained", lambda runs: runs[0].record["row"]),
    ("parameters", size("parameters")),
    ("epochs", size("epochs")),
    ("time", minutes),
    ("ROUGE-1", figure(lambda run: run.last("val/rouge1"), 1)),
    ("ROUGE-2", figure(lambda run: run.last("val/rouge2"), 1)),
    ("ROUGE-L", figure(lambda run: run.last("val/rougeL"), 1)),
    *MADE,
]

CHARACTERS: list[Column] = [
    ("cells", lambda runs: runs[0].record["row"]),
    ("parameters", size("parameters")),
    ("epochs", size("epochs")),
    ("time", minutes),
    ("validation bits per character", figure(lambda run: run.last("val/bits_per_character"), 3)),
    *MADE,
]

TABLES: dict[str, tuple[list[Column], Value]] = {
    "cifar10": (IMAGES, score("test/accuracy")),
    "equal_time": (IMAGES, score("test/accuracy")),
    "multi30k": (TRANSLATION, score("test/bleu")),
    "scitldr": (SUMMARIES, lambda run: run.last("val/rouge1")),
    "char_rnn": (CHARACTERS, lambda run: -(run.last("val/bits_per_character") or 0)),
}
"""The columns of each table, and what its rows are ordered by, the highest first."""

MADE_LIST = "runs"
"""The list of all runs and what made them, which has a place in RESULTS.md like the tables."""


def rebuild(page: str, runs: Sequence[Run]) -> str:
    """Return a page with its tables regenerated.

    Args:
        page: Markdown with the lines `<!-- table: NAME -->` and `<!-- end -->`; what is between them is replaced.
        runs: All published runs.

    Raises:
        ValueError: The page names a table that does not exist, or lacks one that has runs.
    """
    shown: list[str] = []

    def written(found: re.Match[str]) -> str:
        shown.append(found[1])
        return "\n\n".join([BEGIN.format(found[1]), content(found[1], runs), END])

    new = PLACE.sub(written, page)
    for run in runs:
        if run.record["table"] not in shown:
            place = BEGIN.format(run.record["table"])
            raise ValueError(f"results/{run.name}/run.json: RESULTS.md has no place {place} for it")
    return new


def content(name: str, runs: Sequence[Run]) -> str:
    """Return a table and the lines below it that explain it.

    Raises:
        ValueError: There is no such table.
    """
    if name == MADE_LIST:
        return made_list(runs)
    if name not in TABLES:
        raise ValueError(f"RESULTS.md has a place for a table {name}; there are {', '.join([*TABLES, MADE_LIST])}")
    columns, order = TABLES[name]
    rows = rows_of(name, runs)
    if not rows:
        return "No run of this table is published yet."
    ordered = sorted(rows.values(), key=lambda row: -mean(order(run) or 0 for run in row))
    cells = [[cell(row) for _, cell in columns] for row in ordered]
    table = markdown_table([heading for heading, _ in columns], cells)
    return "\n\n".join([table, *notes([run for row in ordered for run in row])])


def notes(runs: Sequence[Run]) -> list[str]:
    """Return the notes below a table of these runs."""
    found = []
    reasons = dict.fromkeys(run.record["outdated"] for run in runs if "outdated" in run.record)
    if reasons:
        found.append(f"{OUTDATED} Made at this commit; {'; '.join(reasons)}. The row waits for its re-run.")
    errors = [error for run in runs if (error := standard_error(run, "test_metrics_originals")) is not None]
    if errors:
        found.append(f"On so few originals, the standard error of an accuracy is up to {max(errors):.1f} points.")
    signatures = dict.fromkeys(
        f"`{each['signature']}`" for run in runs for each in run.figures.values() if "signature" in each
    )
    return found + ([f"Scores: {', '.join(signatures)}."] if signatures else [])


def standard_error(run: Run, file: str) -> float | None:
    """Return the standard error of an accuracy in percentage points, from the number of examples."""
    share = run.figure(file, "test/accuracy")
    return None if share is None else 100 * float((share * (1 - share) / run.figures[file]["examples"]) ** 0.5)


def made_list(runs: Sequence[Run]) -> str:
    """Return a list of all runs, table by table: what made each of them."""
    return "\n".join(made(run) for table in TABLES for row in rows_of(table, runs).values() for run in row)


def made(run: Run) -> str:
    """Return the item of a run: its command, commit, seed, time, data, hardware and versions."""
    record = run.record
    parts = [
        f"`results/{run.name}/`: `{record['command']}`",
        f"seed {record['seed']}, commit {commits([run])}, {run.minutes:.0f} min",
        record["data"],
        f"{record['hardware']}, {record['precision']}",
        ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        *([record["note"]] if "note" in record else []),
    ]
    return "- " + "; ".join(parts) + "."
