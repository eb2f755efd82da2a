"""Every notebook is small, sound, free of this machine's traces, and runs from the first cell to the last."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from scripts.results.runs import read_runs

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MOST_OUTPUT = 400_000  # characters of all outputs of a notebook, as JSON: text and some pictures
LONGEST = "test"
STALE = "run `python -m scripts.notebooks notebooks/presentation.ipynb`"
CELL_SECONDS = 300  # a cell takes some seconds, on a busy machine many times that
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp|mnt|data)/|[A-Z]:\\\\")  # JSON doubles backslashes

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks() -> None:
    assert {"presentation", "test"} < {path.stem for path in NOTEBOOKS}
    assert [path.stem[0] for path in NOTEBOOKS if path.stem[0].isdigit()] == ["1", "2", "3", "4"]


@each_notebook
def test_is_valid_small_and_of_no_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(json.dumps([cell.outputs for cell in code])) < MOST_OUTPUT + 2 * len(code)
    for output in (output for cell in code for output in cell.outputs):
        output.get("data", {}).pop("image/png", None)  # in whose letters a path may stand by chance
    assert not MACHINE_PATH.findall(nbformat.writes(notebook))
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_outputs_are_all_of_one_whole_run(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1)), "run `python -m scripts.notebooks`"
    assert not any(output.get("name") == "stderr" for cell in code for output in cell.outputs)


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in target]
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_presentation_shows_the_results_as_they_are() -> None:
    cells = nbformat.read(NOTEBOOKS[0].parent / "presentation.ipynb", as_version=4).cells
    shown = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    runs = [run for run in read_runs() if "test_metrics" in run.figures]
    assert runs
    for run in runs:
        line = lines.get(run.name, "")
        if (bleu := run.figure("test_metrics", "test/bleu")) is not None:
            assert str(round(bleu, 3)) in line, STALE
        for name in ("test/accuracy", "test/accuracy_tta"):
            share = run.figure("test_metrics", name)
            assert share is None or f"{share:.2%}" in line, STALE


def run_of(path: Path) -> object:
    """Return a parameter: the longest run begins first, or one process would wait for it at the end."""
    return pytest.param(path, id=path.stem, marks=pytest.mark.first if path.stem == LONGEST else ())


@pytest.mark.slow
@pytest.mark.parametrize("path", map(run_of, NOTEBOOKS))
def test_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    # The kernel starts where the notebook lies, as in Jupyter; a cell that fails raises, with its trace.
    NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
