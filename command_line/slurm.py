"""SLURM support: the processes of a run within a job, and requeueing the job.

`srun` starts one process per task, and these are the processes of the run. Where a job has SLURM's variables but `srun`
has started only one task, or an interactive shell, all is as on a machine without SLURM: the process is alone
or starts the others itself.

SLURM sends SIGUSR1 before the time limit (`#SBATCH --signal=USR1@120`). The run then saves and stops
(`utils/interruption.py`) and finally asks SLURM to run the job again. SIGTERM never does that: it is what
`scancel` sends, and a job that is preempted returns to the queue by itself.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer

from utils import interruption
from utils.time_limit import call_in_time

_REPEATED = re.compile(r"(\d+)(?:\(x(\d+)\))?")
NO_PROGRESS = (
    "the job is not requeued, because it has saved no further training step since its start, and might not do so next "
    "time: give it more time (#SBATCH --time) and submit it again"
)
LAUNCHED = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
"""Variables of a process that a launcher other than `srun` has started."""


class SrunTasks(SLURMEnvironment):
    """The tasks of one job step: those that one `srun` has started, which may be fewer than the job has.

    Lightning's own class takes the job's tasks for processes of the run even if nobody has started them, and saves and
    broadcasts within a signal handler.
    """

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @staticmethod
    def _validate_srun_variables() -> None:
        """Do nothing: `check_tasks` does it."""

    @property
    def main_address(self) -> str:
        """The first node of the step."""
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
        return os.environ.get("MASTER_ADDR") or self.resolve_root_node_address(nodes)

    def world_size(self) -> int:
        """Return the number of tasks."""
        return sum(tasks_per_node())


def in_job() -> bool:
    """Return whether this process belongs to a job of SLURM."""
    return "SLURM_JOB_ID" in os.environ


def tasks_per_node() -> list[int]:
    """Return how many tasks of this job step run on each of its nodes; nothing outside of a step."""
    counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 2(x3),1
    return [int(count) for count, times in _REPEATED.findall(counts) for _ in range(int(times or 1))]


def is_one_of_tasks() -> bool:
    """Return whether `srun` has started this process as one of several.

    In an interactive shell (`srun --ntasks 2 --pty bash`) a program is not one of them. A batch job that was submitted
    from such a shell, and the tasks of another `srun` in it, have inherited its variables.
    """
    if not in_job() or "SLURM_PROCID" not in os.environ or sum(tasks_per_node()) < 2:
        return False
    interactive = "SLURM_PTY_PORT" in os.environ and os.environ.get("ENVIRONMENT") != "BATCH" and _is_task_at_terminal()
    other_launcher = TorchElasticEnvironment.detect() or any(name in os.environ for name in LAUNCHED)
    return not (interactive or other_launcher)


def _is_task_at_terminal() -> bool:
    """Return whether the task to which this process belongs has a terminal, as the shell of `srun --pty` has."""
    try:
        status = Path(f"/proc/{os.environ['SLURM_TASK_PID']}/stat").read_text(encoding="utf-8", errors="replace")
    except (KeyError, OSError):
        return True
    return status.rpartition(")")[2].split()[4] != "0"  # the number of the terminal (man proc)


def with_environment(trainer: Any) -> Any:
    """Return the Trainer's plugins, with one that says which processes the run has within a job of SLURM.

    Args:
        trainer: The `trainer` section of the config, with its classes instantiated. If one of its plugins, or its
            strategy, already says which processes there are, the plugins are unchanged.
    """
    plugins, strategy = trainer.plugins, trainer.strategy
    given = [] if plugins is None else plugins if isinstance(plugins, list) else [plugins]
    decided = getattr(strategy, "cluster_environment", None) or any(isinstance(e, ClusterEnvironment) for e in given)
    if decided or not in_job() or TorchElasticEnvironment.detect():
        return plugins
    return [*given, SrunTasks() if is_one_of_tasks() else LightningEnvironment()]


def check_tasks(trainer: Trainer) -> None:
    """Refuse a Trainer whose processes are not those that SLURM has started, and take over its signals.

    Raises:
        ValueError: The numbers differ; the message says how to make them agree.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment):
        environment.auto_requeue = False  # else Lightning saves and broadcasts within a signal handler
    if not in_job() or TorchElasticEnvironment.detect():
        return
    devices, nodes = trainer.num_devices, trainer.num_nodes
    wanted = f"trainer.devices is {devices} and trainer.num_nodes {nodes}"
    if not is_one_of_tasks():
        _check_alone(nodes, wanted)
        return
    tasks = tasks_per_node()
    if len(set(tasks)) > 1:
        raise ValueError(
            f"SLURM has started {' + '.join(map(str, tasks))} tasks on {len(tasks)} nodes, but every node must have "
            f"the same number: start the program with srun --nodes={nodes} --ntasks-per-node={devices}"
        )
    if [devices] * nodes != tasks:
        where = f"each of {len(tasks)} nodes" if len(tasks) > 1 else "one node"
        raise ValueError(
            f"SLURM has started {tasks[0]} tasks on {where}, but {wanted}: pass --trainer.devices {tasks[0]} "
            f"--trainer.num_nodes {len(tasks)}, or start it with srun --nodes={nodes} --ntasks-per-node={devices}"
        )


def _check_alone(nodes: int, wanted: str) -> None:
    """Raise ValueError if the only process that SLURM has started was meant to be one of several."""
    if any(name in os.environ for name in LAUNCHED):
        return
    if nodes > 1:
        raise ValueError(
            f"{wanted}, but SLURM has started only one process: put srun --nodes={nodes} --ntasks-per-node=N before "
            "the command, where N is the number of devices; scripts/slurm/ddp_multi_node.sbatch shows how"
        )
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    in_batch_shell = os.environ.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in os.environ
    if in_batch_shell and tasks > 1:
        raise ValueError(
            f"the job has {tasks} tasks, but the program was started once: put srun before the command, or ask for one "
            "task with --ntasks=1 --cpus-per-task=N"
        )


def job_id() -> str:
    """Return the id of this job; in an array, that of the single task, not of the whole array."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]


def requeue() -> str:
    """Ask SLURM to run this job again, and return what to tell the user.

    For that, SLURM ends the job by SIGTERM, which is ignored from now on: this process is about to end.
    """
    job = job_id()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        reason = " ".join(str(getattr(error, "stderr", None) or error).split())
        return f"job {job} could not be requeued ({reason}): submit it again with sbatch"
    return f"job {job} is requeued: it will continue this run"


def leave(interrupted: interruption.Interrupted) -> int:
    """Do what remains to be done after a signal, such as requeueing the job, and return the exit code.

    Where all processes have stopped together, the first one reports for all of them. The others report success, because
    `srun --kill-on-bad-exit` and torchrun kill all when one fails, and the first may still be busy.
    """
    interruption.leave()  # SLURM sends its signals more than once
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    if interrupted.saved_steps is not None and not first:
        return 0
    if first and interrupted.signal.name == "SIGUSR1" and in_job():
        if "wandb" in sys.modules:
            # SLURM is about to end its helper process as well
            call_in_time(partial(sys.modules["wandb"].finish, exit_code=interrupted.exit_code))
        print(requeue() if interrupted.saved_steps else NO_PROGRESS, flush=True)
    return interrupted.exit_code
