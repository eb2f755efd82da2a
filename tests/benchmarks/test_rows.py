"""One row that fails or hangs does not lose the others, and the table has what they wrote."""

import json
import os
import sys
import time

import pytest
import torch

from benchmarks import cpu, gpu, rows, start
from benchmarks.paired import Comparison
from benchmarks.rows import Row, run_rows
from benchmarks.table import MUST_REACH, table

CPU = torch.device("cpu")


@pytest.fixture
def results(tmp_path):
    times = {"ours": [0.5, 0.5], "transformers": [1.0, 1.5]}
    comparison = Comparison("t5_training_fp32", "a step", CPU, "same loss", times, dict.fromkeys(times))
    comparison.figures["floor_s"] = 0.2
    comparison.write(tmp_path)
    alone = Comparison("alone", "work without a peer", CPU, "nothing", {"ours": [3.0]}, {"ours": None})
    alone.figures["pairs per second"] = 9000
    alone.write(tmp_path)
    return tmp_path


def test_the_table_has_a_row_per_peer_with_ratio_floor_and_what_must_be_reached(results):
    lines = table(results).splitlines()
    assert "| a step | 500 ms | transformers 1.25 s | **2.50** (2.00 to 3.00) | 200 ms | >= 1.6 |" in lines
    assert "| work without a peer | 3 s | none | pairs per second: 9,000 |  |  |" in lines
    assert len([line for line in lines if "torch" in line]) == 1  # the conditions of all rows are the same
    assert torch.__version__ in lines[-1]


def test_a_row_that_fails_or_for_which_no_time_is_left_does_not_lose_the_others(results, monkeypatch, capsys):
    seen = []

    for path in results.iterdir():  # of an earlier run
        os.utime(path, (0, 0))

    def run(command, seconds):
        seen.append(command[2])
        if command[2] == "benchmarks.t5_training":
            return "failed with exit code 1"
        for path in results.glob("*alone*"):  # a file's clock may be behind by a tick, so later than now
            os.utime(path, (time.time() + 1,) * 2)
        return None

    monkeypatch.setattr(rows, "_run", run)
    chosen = [Row("t5_training", (), 50), Row("torture", (), 2), Row("start", (), 50)]
    assert run_rows(chosen, ["--quick"], results, budget=1000) == 2
    assert seen == ["benchmarks.t5_training", "benchmarks.start"]
    said = capsys.readouterr().out
    assert "t5_training: failed with exit code 1" in said
    assert "torture: skipped, no time is left" in said
    assert "| work without a peer |" in said
    assert "| a step |" not in said  # or it would look like a figure of this run
    assert (
        "without a figure of this run:\n  t5_training (failed with exit code 1)\n  torture (no time was left)" in said
    )


def test_a_row_is_killed_at_its_limit_with_all_that_it_has_started(tmp_path):
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{ENDLESS}', r'{tmp_path / 'alive'}'])"
    start = time.monotonic()
    assert rows._run([sys.executable, "-c", code], 5) == "stopped after 5 s"
    assert time.monotonic() - start < 60
    before = (tmp_path / "alive").read_text()
    time.sleep(0.5)
    assert (tmp_path / "alive").read_text() == before


ENDLESS = "import sys, time, pathlib\\nwhile 1: pathlib.Path(sys.argv[1]).write_text(str(time.time())); time.sleep(0.1)"


def test_budgets():
    assert cpu.BUDGET < 20 * 60
    assert gpu.BUDGET < 8 * 60
    assert {name for name, _ in MUST_REACH if name.endswith("cuda")}


def test_every_row_has_arguments_that_its_program_takes(monkeypatch, tmp_path):
    for row in {*cpu.rows(tmp_path, tmp_path), *gpu.rows(tmp_path, tmp_path, False)}:
        module = __import__(f"benchmarks.{row.program}", fromlist=["main"])
        monkeypatch.setattr(sys, "argv", [row.program, *row.arguments, "--output", str(tmp_path), "--rounds", "many"])
        with pytest.raises(SystemExit):
            module.main()


def test_a_start_is_timed_and_must_end_as_it_should(tmp_path):
    start.main(["--quick", "--output", str(tmp_path)])
    read = json.loads((tmp_path / "start_version_cpu.json").read_text())
    assert read["ratios"]["import torch"]["median"] > 1
    with pytest.raises(AssertionError, match="ended with 3"):
        start.starter("import sys; sys.exit(3)", [], 0)()


@pytest.mark.parametrize("program", [cpu, gpu])
def test_tiny_versions_do_not_replace_what_is_published(program, capsys):
    with pytest.raises(SystemExit):
        program.main(["--quick"])
    assert "--quick would replace the published figures: pass --output DIR" in capsys.readouterr().err


@pytest.mark.parametrize("program", [cpu, gpu])
def test_a_command_for_all_rows_runs_those_that_are_chosen(program, monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(program, "run_rows", lambda chosen, *rest: ran.append((chosen, rest)) or 0)
    with pytest.raises(SystemExit) as ended:
        program.main(["--quick", "--only", "t5_training", "--output", str(tmp_path)])
    assert ended.value.code == 0
    ((chosen, (common, output, budget)),) = ran
    assert {row.program for row in chosen} == {"t5_training"}
    assert "--quick" in common
    assert (output, budget) == (tmp_path, program.BUDGET)
