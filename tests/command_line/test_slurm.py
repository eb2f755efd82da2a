"""SLURM's variables: who the processes of a run are, what is refused, and the way back to the queue."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer

import cli
from command_line import slurm
from utils.interruption import Interrupted

ROOT = Path(__file__).parents[2]

# As a real SLURM 22.05 sets them
JOB = {"SLURM_JOB_ID": "12", "SLURM_NNODES": "2", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}
JOB |= {"SLURM_NODELIST": "n[1-2]", "SLURM_JOB_NAME": "resnet", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
BATCH = {**JOB, "ENVIRONMENT": "BATCH"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_NODEID": "1"}
STEP |= {"SLURM_STEP_NODELIST": "n[1-2]"}
TASK = {**BATCH, **STEP, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
ONE_TASK = {**TASK, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_PROCID": "0"}
TERMINAL = {**JOB, **STEP, "SLURM_PTY_PORT": "1234"}
SALLOC = {name: value for name, value in JOB.items() if name not in ("SLURM_PROCID", "SLURM_LOCALID")}


@pytest.fixture
def variables(monkeypatch):
    """Sets SLURM's variables, and no others of its."""

    def set_them(values: dict[str, str]) -> None:
        for name in [*os.environ]:
            if name.startswith(("SLURM_", "ENVIRONMENT", "MASTER_", *slurm.LAUNCHED)):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    set_them({})
    return set_them


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """An `scontrol` that notes how it was called, and fails if told to."""
    path = tmp_path / "bin" / "scontrol"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n[ ! -e {tmp_path}/no ] || {{ cat {tmp_path}/no >&2; exit 1; }}\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    terminate = signal.getsignal(signal.SIGTERM)
    yield lambda: (tmp_path / "called").read_text().splitlines() if (tmp_path / "called").exists() else []
    signal.signal(signal.SIGTERM, terminate)


def environment(plugins=None, strategy="auto"):
    chosen = slurm.with_environment(SimpleNamespace(plugins=plugins, strategy=strategy))
    return type(chosen[-1]) if chosen else None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, None, id="without SLURM"),
        pytest.param(TASK, slurm.SrunTasks, id="srun"),
        pytest.param({**TASK, "SLURM_JOB_NAME": "bash"}, slurm.SrunTasks, id="srun bash -c"),
        pytest.param({**TASK, "SLURM_PTY_PORT": "1"}, slurm.SrunTasks, id="sbatch from within srun --pty"),
        pytest.param(ONE_TASK, LightningEnvironment, id="srun with one task"),
        pytest.param(TERMINAL, LightningEnvironment, id="srun --pty"),
        pytest.param(SALLOC, LightningEnvironment, id="salloc"),
        pytest.param(BATCH, LightningEnvironment, id="sbatch without srun"),
        pytest.param({**TASK, "LOCAL_RANK": "1"}, LightningEnvironment, id="started by another rank"),
    ],
)
def test_the_tasks_of_srun_are_the_processes_and_nothing_else(variables, values, expected):
    variables(values)
    assert environment() is expected


def test_the_tasks_of_srun_within_an_interactive_shell_are_processes_too(variables):
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as task:  # as SLURM starts one: without a terminal
        variables({**TERMINAL, "SLURM_TASK_PID": str(task.pid)})
        assert environment() is slurm.SrunTasks
        task.kill()
    variables({**TERMINAL, "SLURM_TASK_PID": "no process"})
    assert environment() is LightningEnvironment


def test_torchrun_within_a_job_decides_by_itself(variables, monkeypatch):
    variables(TASK)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    for name in ("GROUP_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
    assert environment() is None


def test_what_the_config_says_stays(variables):
    variables(TASK)
    assert slurm.with_environment(SimpleNamespace(plugins=[LightningEnvironment()], strategy="ddp"))[1:] == []


def test_ranks_come_from_the_step_not_from_the_job(variables):
    variables({**TASK, "SLURM_NTASKS": "8", "SLURM_NODELIST": "n[0-3]"})
    tasks = slurm.SrunTasks()
    assert (tasks.world_size(), tasks.global_rank(), tasks.local_rank(), tasks.node_rank()) == (4, 3, 1, 1)
    assert tasks.main_address == "n1"
    assert tasks.creates_processes_externally


@pytest.mark.parametrize(
    ("listed", "tasks"), [("", []), ("1", [1]), ("2(x3),1", [2, 2, 2, 1]), ("3,4(x2)", [3, 4, 4]), ("16", [16])]
)
def test_tasks_per_node(variables, listed, tasks):
    variables({"SLURM_STEP_TASKS_PER_NODE": listed})
    assert slurm.tasks_per_node() == tasks


def trainer(devices: int, nodes: int, kind: type = LightningEnvironment) -> Trainer:
    """The part of a Trainer that is looked at."""
    connector = SimpleNamespace(cluster_environment=kind())
    return SimpleNamespace(num_devices=devices, num_nodes=nodes, _accelerator_connector=connector)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("values", "devices", "nodes", "words"),
    [
        (
            TASK,
            1,
            1,
            "SLURM has started 2 tasks on each of 2 nodes, but trainer.devices is 1 and trainer.num_nodes 1: "
            "pass --trainer.devices 2 --trainer.num_nodes 2, or start it with srun --nodes=1 --ntasks-per-node=1",
        ),
        (TASK, 2, 1, "--trainer.num_nodes 2"),
        (TASK, 4, 2, "or start it with srun --nodes=2 --ntasks-per-node=4"),
        ({**TASK, "SLURM_STEP_TASKS_PER_NODE": "2,1"}, 2, 2, "started 2 \\+ 1 tasks on 2 nodes"),
        (BATCH, 2, 2, "put srun --nodes=2 --ntasks-per-node=N before"),
        (SALLOC, 2, 2, "put srun --nodes=2 --ntasks-per-node=N before"),
        (BATCH, 1, 1, "the job has 4 tasks, but the program was started once: put srun before the command"),
    ],
)
def test_tasks_that_are_not_the_processes_of_the_trainer_are_refused_in_one_line(
    variables, values, devices, nodes, words
):
    variables(values)
    with pytest.raises(ValueError, match=words) as refused:
        slurm.check_tasks(trainer(devices, nodes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "devices", "nodes"),
    [
        (TASK, 2, 2),
        (ONE_TASK, 2, 1),
        (TERMINAL, 2, 1),
        (SALLOC, 1, 1),
        ({**BATCH, "SLURM_NTASKS": "1"}, 2, 1),
        ({**BATCH, "LOCAL_RANK": "1"}, 2, 1),
        ({"SLURM_CONF": "/etc/slurm.conf"}, 2, 2),
    ],
)
def test_tasks_that_are_the_processes_of_the_trainer_are_accepted(variables, values, devices, nodes):
    variables(values)
    slurm.check_tasks(trainer(devices, nodes))


def test_21406_lightning_handles_no_signal_whatever_the_config_says(variables):
    variables(TASK)
    own = trainer(2, 2, SLURMEnvironment)
    assert own._accelerator_connector.cluster_environment.auto_requeue
    slurm.check_tasks(own)
    assert not own._accelerator_connector.cluster_environment.auto_requeue
    assert not slurm.SrunTasks().auto_requeue


def interrupted(number: int, saved_steps: int | None) -> Interrupted:
    signalled = Interrupted(number)
    signalled.saved_steps = saved_steps
    return signalled


ARRAY = {**TASK, "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "7"}


@pytest.mark.parametrize(("values", "job"), [(TASK, "12"), (ARRAY, "12_7")])
def test_20542_the_first_process_requeues_its_job_and_the_others_leave_without_an_error(
    variables, scontrol, capfd, monkeypatch, values, job
):
    variables(values)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert slurm.leave(interrupted(signal.SIGUSR1, 5)) == 0
    assert scontrol() == []
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert slurm.leave(interrupted(signal.SIGUSR1, 5)) == 138
    assert scontrol() == [f"requeue {job}"]
    assert f"job {job} is requeued" in capfd.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # by which SLURM ends the job at once


def test_20542_a_job_is_requeued_although_wandb_fails(variables, scontrol, monkeypatch):
    def finish(exit_code: int) -> None:
        raise ConnectionResetError("Connection lost")

    variables(TASK)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(finish=finish))
    assert slurm.leave(interrupted(signal.SIGUSR1, 5)) == 138
    assert scontrol() == ["requeue 12"]


@pytest.mark.parametrize(
    ("number", "saved_steps", "code"),
    [(signal.SIGTERM, 5, 143), (signal.SIGINT, 5, 130), (signal.SIGUSR1, None, 138), (signal.SIGUSR1, 0, 138)],
)
def test_20542_a_job_that_is_cancelled_or_has_not_advanced_is_not_requeued(
    variables, scontrol, capfd, number, saved_steps, code
):
    variables(TASK)
    assert slurm.leave(interrupted(number, saved_steps)) == code
    assert scontrol() == []
    assert ("it has saved no further training step" in capfd.readouterr().out) == (number == signal.SIGUSR1)


def test_outside_of_slurm_nothing_is_requeued(variables, scontrol):
    assert slurm.leave(interrupted(signal.SIGUSR1, 5)) == 138
    assert scontrol() == []


def test_a_requeue_that_slurm_refuses_says_why_and_what_to_do(variables, scontrol, capfd, tmp_path):
    variables(TASK)
    (tmp_path / "no").write_text("Requested operation is presently disabled\nfor job 12\n")
    slurm.leave(interrupted(signal.SIGUSR1, 5))
    expected = "job 12 could not be requeued (Requested operation is presently disabled for job 12): submit it again"
    assert expected in capfd.readouterr().out


FIT = [
    *["fit", "--config", str(ROOT / "configs/quickstart/images.yaml"), "--model.architecture.widths", "[4,4,4]"],
    *["--trainer.accelerator", "cpu", "--trainer.callbacks", "[]", "--model.tta", "none"],
    *["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"],
    *["--run_dir", "run", "--resume"],
]


def start(monkeypatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["oneforall", *args])
    try:
        cli.main([*args])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_20347_21406_one_command_starts_is_requeued_and_continues(variables, scontrol, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    variables({**ARRAY, **ONE_TASK, "SLURM_NTASKS": "1"})
    save, saves = cli.ResumeCheckpoint.save, []

    def save_and_signal(self, trainer, moment=None):
        save(self, trainer, moment)
        saves.append(trainer.global_step)
        if saves == [0]:
            os.kill(os.getpid(), signal.SIGUSR1)  # what arrives in mid-save counts from the next step on

    monkeypatch.setattr(cli.ResumeCheckpoint, "save", save_and_signal)
    assert start(monkeypatch, *FIT) == 138
    assert saves == [0, 1]
    assert scontrol() == ["requeue 12_7"]
    assert start(monkeypatch, *FIT) == 0
    assert "resuming run at epoch 1, step 1" in capfd.readouterr().out
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "called", "run"]


@pytest.mark.parametrize("values", [SALLOC, TERMINAL], ids=["salloc", "srun --pty"])
def test_an_interactive_shell_trains_as_outside_of_slurm(variables, tmp_path, monkeypatch, values, capfd):
    monkeypatch.chdir(tmp_path)
    variables(values)
    assert start(monkeypatch, *FIT) == 0
    assert "is available on your system but is not used" not in capfd.readouterr().err
