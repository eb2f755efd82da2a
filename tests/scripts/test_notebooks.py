"""What is kept of a notebook that was run tells nothing of the machine."""

import tempfile
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

from scripts.notebooks import ROOT, without_traces  # noqa: E402


def test_traces_of_the_machine_are_removed():
    v4, temporary = nbformat.v4, tempfile.mkdtemp()
    Path(temporary).rmdir()
    outputs = [
        v4.new_output("stream", name="stderr", text="a warning"),
        v4.new_output("stream", name="stdout", text=f"{ROOT}/runs/x {temporary}/y"),
        v4.new_output("display_data", data={"text/plain": f"{ROOT}/y", "image/png": "AAAA"}),
    ]
    cell = v4.new_code_cell("1", outputs=outputs, metadata={"execution": {"iopub.status.busy": "now"}})
    (kept,) = without_traces(v4.new_notebook(cells=[cell, v4.new_markdown_cell("words")])).cells[:1]
    assert [output.get("text") for output in kept.outputs] == ["runs/x TMP/y", None]
    assert kept.outputs[1].data == {"text/plain": "y", "image/png": "AAAA"}
    assert "execution" not in kept.metadata
