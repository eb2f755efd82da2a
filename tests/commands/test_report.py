import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line.tools import run_tool
from reports import page
from tests.reports.run_folders import make_run


def test_the_page_is_written_and_named(tmp_path, capsys):
    pytest.importorskip("plotly")
    folder = make_run(tmp_path)
    assert run_tool(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_folder_that_is_no_run_is_a_mistake(tmp_path, capsys):
    assert run_tool(["report", str(tmp_path / "nowhere")]) == 2
    assert run_tool(["report", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("oneforall: error: ") for line in lines)


def test_a_missing_extra_is_a_mistake(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    page._environment.cache_clear()
    assert run_tool(["report", str(make_run(tmp_path))]) == 2
    error = "oneforall: error: a page needs jinja2 and plotly: pip install 'one-for-all[report]'\n"
    assert capsys.readouterr().err == error


BOTH = """
import sys
from command_line.streams import mend_streams
from command_line.tools import run_tool

a, b, page = sys.argv[1:]
mend_streams()
assert run_tool(["report", a]) == run_tool(["compare", a, b, "--output", page]) == 0
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_folders_whose_names_are_not_utf8_are_shown_with_escapes(tmp_path):
    pytest.importorskip("plotly")
    parent = tmp_path / "caf\udce9"
    a, b, page = make_run(parent, "a\udcff"), make_run(parent, "b", seed=1), parent / "compare.html"
    done = subprocess.run(  # one process, with a standard output that takes nothing but UTF-8, for both commands
        [sys.executable, "-c", BOTH, a, b, page],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[0].startswith(f"{tmp_path}/caf\\xe9/a\\xff/")
    assert said[-1].startswith(f"{tmp_path}/caf\\xe9/")
    assert "<title>a\\xff" in (a / "report.html").read_text(encoding="utf-8")
    assert '<a href="a%FF/report.html">a\\xff</a>' in page.read_text(encoding="utf-8")
