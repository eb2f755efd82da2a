import pytest

from command_line.tools import run_tool
from tests.reports.run_folders import make_run


def test_the_table_is_printed_and_the_page_written(tmp_path, capsys):
    runs = [str(make_run(tmp_path, "a")), str(make_run(tmp_path, "b", seed=1))]
    assert run_tool(["compare", *runs]) == 0
    table = capsys.readouterr().out
    assert "mean of 2 seeds" in table
    pytest.importorskip("plotly")  # which the table does without
    assert run_tool(["compare", *runs, "--output", str(tmp_path / "c.html")]) == 0
    assert capsys.readouterr().out.startswith(table)
    assert (tmp_path / "c.html").is_file()


def test_a_single_run_and_a_foreign_folder_are_mistakes(tmp_path, capsys):
    run = str(make_run(tmp_path, "a"))
    assert run_tool(["compare", run, run]) == 2
    assert run_tool(["compare", run, str(tmp_path / "nowhere")]) == 2
    one, foreign = capsys.readouterr().err.splitlines()
    assert "name at least two different runs" in one
    assert "nowhere is not a folder" in foreign
