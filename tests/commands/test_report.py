import sys

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
