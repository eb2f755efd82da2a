"""The batch scripts for SLURM: what they start, and which lines are for `sbatch` and for their readers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "slurm"


def printed_by(script: str, tmp_path: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a batch script with an `srun` that prints what it was asked to start, one word per line."""
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\necho threads $OMP_NUM_THREADS, cores $SRUN_CPUS_PER_TASK\n")
    srun.chmod(0o755)
    values = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_NAME": "a run", **variables}
    values |= {"SLURM_CPUS_PER_TASK": "8", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4"}
    command = ["bash", str(SCRIPTS / script), *args]
    return subprocess.run(command, env=values, capture_output=True, text=True, cwd=tmp_path, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="SLURM is for Linux")
@pytest.mark.parametrize(
    ("script", "how", "processes"),
    [
        ("single_gpu.sbatch", [], ["--trainer.devices", "1"]),
        ("ddp_one_node.sbatch", ["--label", "--kill-on-bad-exit=1"], ["--trainer.devices", "4"]),
        (
            "ddp_multi_node.sbatch",
            ["--label", "--kill-on-bad-exit=1"],
            ["--trainer.num_nodes", "2", "--trainer.devices", "4"],
        ),
    ],
)
def test_17115_a_script_names_the_run_folder_and_one_command_for_all_starts(tmp_path, script, how, processes):
    words = printed_by(script, tmp_path).stdout.splitlines()
    program = words.index(".venv/bin/oneforall")
    assert words[:program] == how
    assert words[program + 1] == "fit"
    assert words[-len(processes) - 4 : -1] == [*processes, "--run_dir", "runs/a run", "--resume"]
    assert words[-1] == "threads 8, cores 8"


@pytest.mark.skipif(sys.platform != "linux", reason="SLURM is for Linux")
def test_an_array_trains_seeds_or_the_lines_of_a_file(tmp_path):
    words = printed_by("array.sbatch", tmp_path, SLURM_ARRAY_TASK_ID="2").stdout.splitlines()
    assert words[-8:-1] == [
        *["--seed_everything", "2", "--trainer.devices", "1", "--run_dir", "runs/a run-seed2", "--resume"],
    ]
    (tmp_path / "changes.txt").write_text("--a 1\n--b '[1, 2]' --c \"x y\"\n\n")
    words = printed_by("array.sbatch", tmp_path, "changes.txt", SLURM_ARRAY_TASK_ID="2").stdout.splitlines()
    assert words[-10:-1] == [
        *["--b", "[1, 2]", "--c", "x y", "--trainer.devices", "1", "--run_dir", "runs/a run-2", "--resume"],
    ]
    (tmp_path / "empty.txt").write_text("--a 1 --data.task.prefix ''\n")
    words = printed_by("array.sbatch", tmp_path, "empty.txt", SLURM_ARRAY_TASK_ID="1").stdout.splitlines()
    assert words[-10:-6] == ["--a", "1", "--data.task.prefix", ""]
    for line in ("3", "4"):
        refused = printed_by("array.sbatch", tmp_path, "changes.txt", SLURM_ARRAY_TASK_ID=line)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"line {line} of changes.txt is missing or empty" in refused.stderr
    (tmp_path / "changes.txt").write_text('--a b "c\n')
    refused = printed_by("array.sbatch", tmp_path, "changes.txt", SLURM_ARRAY_TASK_ID="1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "line 1 of changes.txt cannot be read: is a quote not closed?" in refused.stderr


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sbatch")), ids=lambda path: path.stem)
def test_every_line_for_sbatch_is_read_and_three_are_marked(script):
    lines = script.read_text().splitlines()
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives[-1] < first_command  # sbatch reads no further
    assert [line.count("# EDIT") for line in lines if "# EDIT" in line] == [1, 1, 1]
    text = "\n".join(lines)
    for option in ("--requeue", "--open-mode=append", "--signal=USR1@120", "--output=%x-%"):
        assert text.count(f"#SBATCH {option}") == 1
