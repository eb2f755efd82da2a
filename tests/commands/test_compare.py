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
    assert "specify at least two different runs" in one
    assert "nowhere is not a folder" in foreign


def test_a_sweep_is_its_trials(tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.db").touch()
    (tmp_path / "sweep" / "trial-003").mkdir()  # has not begun
    for number in (1, 2):
        make_run(tmp_path / "sweep", f"trial-00{number}", seed=number)
    assert run_tool(["compare", str(tmp_path / "sweep")]) == 0
    assert "mean of 2 seeds" in capsys.readouterr().out


def test_a_run_under_two_names_is_one(tmp_path, capsys, monkeypatch):
    make_run(tmp_path, "a")
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    for other in ("a/", "./a", str(tmp_path / "a"), "link"):
        assert run_tool(["compare", "a", other]) == 2
        assert "specify at least two different runs to compare" in capsys.readouterr().err


def test_a_page_replaces_nothing_but_a_page(tmp_path, capsys):
    pytest.importorskip("plotly")
    runs = [str(make_run(tmp_path, "a")), str(make_run(tmp_path, "b", seed=1))]
    config = tmp_path / "a" / "config.yaml"
    before = config.read_bytes()
    assert run_tool(["compare", *runs, "--output", str(config)]) == 2
    assert f"--output {config} exists and is not a page: choose another file" in capsys.readouterr().err
    assert config.read_bytes() == before
    assert run_tool(["compare", *runs, "--output", "."]) == 2
    assert "--output . is a folder: specify a file in it" in capsys.readouterr().err
    page = tmp_path / "c.html"
    for _ in range(2):
        assert run_tool(["compare", *runs, "--output", str(page)]) == 0
