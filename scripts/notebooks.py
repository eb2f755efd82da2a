"""Run notebooks and keep their outputs, which GitHub shows.

    python -m scripts.notebooks [notebooks/presentation.ipynb ...]

runs the given notebooks, or all, from a fresh kernel. Traces of this machine (times of cells, warnings, the folder of
the checkout, names of temporary folders) are left out. Tests limit the size of the outputs, and check that one whole
run made them.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
CELL_SECONDS = 1800
TEMPORARY = re.compile(rf"{re.escape(tempfile.gettempdir())}/tmp\w+")
"""A folder of `tempfile.mkdtemp`."""


def run(path: Path) -> None:
    """Run a notebook from its first cell to its last, and write it back with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; the file stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    nbformat.write(without_traces(notebook), path)


def without_traces(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook without what its cells printed to standard error, their times, and names of folders."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "text" in output:
                output.text = without_folders(output.text)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = without_folders(value)
    return notebook


def without_folders(text: str) -> str:
    """Return a text without the checkout's folder, and with TMP for a temporary one."""
    return TEMPORARY.sub("TMP", text.replace(f"{ROOT}/", ""))


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(ROOT.glob("notebooks/*.ipynb")):
        run(path.resolve())
