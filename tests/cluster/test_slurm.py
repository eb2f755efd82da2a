"""The scripts of `scripts/slurm/` on a real SLURM of two nodes: requeued, killed, cancelled, in arrays, interactive."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.torture import differences
from tests.cluster.slurm_cluster import PARTITION, SlurmCluster, wait_until

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "slurm"
COMMAND = [sys.executable, "-m", "cli"]
TINY = [
    *["fit", "--config", "quickstart/images.yaml", "--model.architecture.widths", "[4,4,4]", "--model.tta", "none"],
    *["--trainer.accelerator", "cpu", "--trainer.callbacks", "[]"],
]
RANDOM = ["--data.augmentation.mixup_alpha", "0.2", "--data.augmentation.flip", "random"]
OFTEN = ["--resume_checkpoint.every_n_steps", "2", "--resume_checkpoint.every_n_seconds", "1000"]
DDP = [*TINY, *RANDOM, *OFTEN, "--config", "ema.yaml", "--trainer.strategy", "ddp", "--trainer.max_epochs", "12"]
ENDLESS = [*TINY, "--trainer.max_epochs", "100000"]
EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.9}\n"
TWO_NODES = ["--nodes=2", "--ntasks-per-node=1"]

pytestmark = pytest.mark.slurm


class Submitter:
    """A user's folder, from which the scripts are submitted with their three lines edited."""

    def __init__(self, cluster: SlurmCluster, folder: Path):
        self.cluster, self.folder = cluster, folder
        (folder / "ema.yaml").write_text(EMA)

    def script(self, template: str, name: str, arguments: list[str]) -> Path:
        """Edit the marked lines, and no other, of one of the repository's scripts."""
        lines = (SCRIPTS / template).read_text().splitlines()
        first, second, third = (next(i for i, line in enumerate(lines) if f"# EDIT {n}:" in line) for n in (1, 2, 3))
        assert lines[first].startswith("#SBATCH --job-name=")
        assert lines[second].startswith("#SBATCH --partition=gpu --time=24:00:00 ")
        assert lines[third + 1].startswith("TRAIN=(")
        lines[first] = f"#SBATCH --job-name={name}"
        lines[second] = f"#SBATCH --partition={PARTITION} --time=60"
        lines[third + 1] = f"TRAIN=({shlex.join([*COMMAND, *arguments])})"
        path = self.folder / f"{name}.sbatch"
        path.write_text("\n".join(lines) + "\n")
        return path

    def submit(self, template: str, name: str, arguments: list[str], *options: str) -> str:
        return self.cluster.submit(self.script(template, name, arguments), *options, cwd=self.folder)

    def log(self, pattern: str) -> str:
        return "".join(path.read_text() for path in self.folder.glob(pattern))

    def completed(self, job: str, pattern: str) -> dict[str, str]:
        """Wait until a job has ended, which must be well."""
        state = self.cluster.ended(job)
        assert state["JobState"] == "COMPLETED", self.log(pattern)[-4000:]
        return state

    def wait_for_step(self, job: str, run: str, step: int) -> None:
        """Wait until a run that a job trains has saved a step."""
        last = self.folder / "runs" / run / "checkpoints" / "last.ckpt"

        def trained() -> bool:
            assert self.cluster.job(job)["JobState"] in ("PENDING", "RUNNING", "COMPLETING"), self.log("*.log")[-4000:]
            return last.is_file() and torch.load(last, weights_only=True)["global_step"] >= step

        wait_until(trained, 900, lambda: f"step {step} is not saved: {self.log('*.log')[-4000:]}")


@pytest.fixture(scope="module")
def user(slurm: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Submitter:
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    slurm.env |= {"PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return Submitter(slurm, tmp_path_factory.mktemp("user"))


@pytest.fixture(autouse=True)
def nothing_left(slurm: SlurmCluster) -> Iterator[None]:
    """Leave no job behind, which a test that has failed might."""
    yield
    slurm.cancel_all()


@pytest.fixture(scope="module")
def whole(user: Submitter) -> Path:
    """The folder of a run on two nodes that was never interrupted."""
    job = user.submit("ddp_multi_node.sbatch", "whole", DDP, *TWO_NODES)
    assert user.completed(job, "whole-*.log")["Restarts"] == "0"
    return user.folder / "runs" / "whole"


def test_20542_16639_12369_requeued_at_the_time_limit_equals_never_interrupted(user: Submitter, whole: Path) -> None:
    job = user.submit("ddp_multi_node.sbatch", "requeued", DDP, *TWO_NODES)
    user.wait_for_step(job, "requeued", 20)
    user.cluster.run("scancel", "--signal=USR1", job)
    assert user.completed(job, "requeued-*.log")["Restarts"] == "1"

    assert differences(whole, user.folder / "runs" / "requeued") == []
    logs = list(user.folder.glob("requeued-*"))
    assert [path.name for path in logs] == [f"requeued-{job}.log"]
    log = logs[0].read_text()
    assert log.count("nothing to resume in runs/requeued: starting a new run") == 1
    assert log.count("resuming runs/requeued at epoch") == 1
    assert f"job {job} is requeued" in log
    assert "hpc_ckpt" not in log and "Traceback" not in log
    assert sorted(path.name for path in (user.folder / "runs").glob("requeued*")) == ["requeued"]


def test_20806_slurm_signals_before_the_time_is_up_and_the_job_comes_back(user: Submitter) -> None:
    job = user.submit("single_gpu.sbatch", "limit", [*ENDLESS, *OFTEN])
    user.wait_for_step(job, "limit", 2)
    minutes = int(user.cluster.job(job)["RunTime"].split(":")[1])
    # Less than 120 s are left, which SLURM, looking every half minute, finds out by itself
    user.cluster.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes + 2}")
    wait_until(lambda: user.cluster.job(job)["Restarts"] == "1", 150, lambda: user.log("limit-*.log")[-4000:])
    user.cluster.run("scancel", job)
    user.cluster.ended(job)
    assert "stopped by SIGUSR1" in user.log("limit-*.log")


def test_21406_a_rank_that_is_killed_ends_the_job_which_names_it(user: Submitter) -> None:
    job = user.submit("ddp_multi_node.sbatch", "killed", [*ENDLESS, *OFTEN, "--trainer.strategy", "ddp"], *TWO_NODES)
    user.wait_for_step(job, "killed", 10)
    os.kill(user.cluster.process(job, rank=1), signal.SIGKILL)
    began = time.monotonic()
    state = user.cluster.ended(job, seconds=60)
    assert time.monotonic() - began < 60
    assert (state["JobState"], state["Restarts"]) == ("FAILED", "0")
    assert re.search(r"srun: error: n2: task 1: Killed", user.log("killed-*.log"))


def test_4366_killed_and_cancelled_in_mid_save_resumes_to_the_same_weights(user: Submitter, whole: Path) -> None:
    for end, step, state in (("kill", 6, "FAILED"), ("scancel", 30, "CANCELLED")):
        job = user.submit("ddp_multi_node.sbatch", "cancelled", DDP, *TWO_NODES)
        user.wait_for_step(job, "cancelled", step)
        first = user.cluster.process(job, rank=0)
        stop_within_a_save(first, user.folder / "runs" / "cancelled" / "checkpoints")
        if end == "kill":
            os.kill(first, signal.SIGKILL)
        else:
            user.cluster.run("scancel", job)  # which lets it go on, and asks it to stop
        ended = user.cluster.ended(job)
        assert (ended["JobState"], ended["Restarts"]) == (state, "0")
    job = user.submit("ddp_multi_node.sbatch", "cancelled", DDP, *TWO_NODES)
    user.completed(job, "cancelled-*.log")
    assert differences(whole, user.folder / "runs" / "cancelled") == []
    assert sorted(path.name for path in (user.folder / "runs").glob("cancelled*")) == ["cancelled"]


def stop_within_a_save(process: int, folder: Path) -> None:
    """Suspend a process while it writes a checkpoint."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(folder.glob(".last.ckpt.*")):
            os.kill(process, signal.SIGSTOP)
            time.sleep(0.05)
            if any(folder.glob(".last.ckpt.*")):
                return
            os.kill(process, signal.SIGCONT)
    raise TimeoutError("no save was met")


def test_20347_an_array_of_seeds_has_a_folder_each_and_one_is_requeued_alone(user: Submitter) -> None:
    arguments = [*TINY, *OFTEN, "--trainer.max_epochs", "12"]
    job = user.submit("array.sbatch", "seeds", arguments)
    # The last one's number is, to SLURM, that of the whole array too
    user.wait_for_step(f"{job}_2", "seeds-seed2", 10)
    user.cluster.run("scancel", "--signal=USR1", f"{job}_2")
    restarts = [user.completed(f"{job}_{seed}", f"seeds-{job}_{seed}.log")["Restarts"] for seed in range(3)]
    assert restarts == ["0", "0", "1"]
    assert sorted(path.name for path in (user.folder / "runs").glob("seeds*")) == [f"seeds-seed{n}" for n in range(3)]
    folders = [user.folder / "runs" / f"seeds-seed{seed}" for seed in range(3)]
    assert [yaml.safe_load((each / "config.yaml").read_text())["seed_everything"] for each in folders] == [0, 1, 2]
    assert len(list(user.folder.glob(f"seeds-{job}_*.log"))) == 3
    weights = [torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in folders]
    assert not any(
        torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if name.endswith("conv.weight")
    )


@pytest.mark.parametrize(("shell", "devices"), [("salloc", 2), ("srun --pty", 1)])
def test_an_interactive_shell_trains_with_as_many_processes_as_the_command_says(
    user: Submitter, shell: str, devices: int
) -> None:
    run = f"interactive-{shell[:4]}-{devices}"
    fit = [*COMMAND, *TINY, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    fit += ["--trainer.devices", str(devices), "--name", run]
    command = [*shell.split(), "--nodes=1", "--ntasks-per-node=2", "bash", "-c", f"{shlex.join(fit)}; echo code $?"]
    done = subprocess.run(
        ["script", "--quiet", "--command", shlex.join(command), "/dev/null"],  # with a terminal
        cwd=user.folder,
        env=user.cluster.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert "code 0" in done.stdout, done.stdout[-4000:]
    assert ("Starting with 2 processes" in done.stdout) == (devices == 2)
    assert (user.folder / "runs" / run / "checkpoints" / "last.ckpt").is_file()


def test_tasks_that_are_not_the_devices_end_in_one_line(user: Submitter) -> None:
    command = ["srun", *TWO_NODES, *COMMAND, *TINY, "--trainer.devices", "2", "--name", "no"]
    done = subprocess.run(
        command, cwd=user.folder, env=user.cluster.env, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "pass --trainer.devices 1 --trainer.num_nodes 2" in done.stderr
    assert not (user.folder / "runs" / "no").exists()
