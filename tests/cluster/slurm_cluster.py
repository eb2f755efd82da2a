"""A real SLURM on this one machine: munged, slurmctld and two slurmd, started as root and without systemd."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")
PARTITION = "test"
HOSTS = Path("/etc/hosts")
NAMES = "".join(f"127.0.0.1 {name}\n" for name in NODES).encode()

CONFIG = """\
ClusterName=one-for-all
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for as long as a credential lives: two minutes by default
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue_delay}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
ReturnToService=2
KillWait=20
MinJobAge=3000
GresTypes=gpu
{nodes}
PartitionName={partition} Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=32 Gres=gpu:4 State=UNKNOWN"


def missing() -> str | None:
    """Return why no SLURM can be started here; None if one can."""
    absent = [program for program in PROGRAMS if which(program) is None]
    if absent:
        return f"SLURM is not installed: {', '.join(absent)} missing (apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "SLURM's daemons need root"


def which(program: str) -> str | None:
    """Return the path of a program, which may be one of the system's that a user's PATH leaves out."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def processes() -> Iterator[tuple[int, set[str]]]:
    """Yield the processes of this machine, each with the environment variables that it was started with."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            variables = (folder / "environ").read_bytes().decode(errors="replace")
            yield int(folder.name), set(variables.split("\0"))


def wait_until(condition: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    """Return once a condition holds; fail with what was waited for if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not after {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.2)


class SlurmCluster:
    """Two nodes, n1 and n2, which are this machine twice.

    Args:
        folder: Where config, sockets, state and logs are; all of it may be removed after `stop`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.has_named_nodes = False
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        self.env = {**outside, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons and wait until both nodes are idle."""
        self._name_nodes()
        self._write_config()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        munge = {name: f"--{name}={self.folder / f'munge.{end}'}" for name, end in MUNGE_FILES.items()}
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", *munge.values())
        wait_until((self.folder / "munge.socket").exists, 20, "munged has no socket")
        self._daemon("slurmctld", "-D", "-i")
        for name in NODES:
            (self.folder / name).mkdir()
            self._daemon("slurmd", "-D", "-N", name)
        wait_until(self._is_idle, 60, lambda: f"nodes are not idle: {self._node_states()}")

    def stop(self) -> None:
        """End all jobs and daemons, and name no nodes any more."""
        try:
            if len(self.daemons) > 1:
                self.cancel_all()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:  # the rest must be stopped all the same
            print(f"jobs could not be cancelled: {error}")
        for daemon in reversed(self.daemons):  # munged, which all need, last
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process, variables in processes():  # what outlives the daemons: steps, and what they have started
            if f"SLURM_CONF={self.env['SLURM_CONF']}" in variables:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        if self.has_named_nodes:
            HOSTS.write_bytes(HOSTS.read_bytes().replace(NAMES, b"", 1))

    def cancel_all(self) -> None:
        """End all jobs at once."""
        self.run("scancel", "--signal=KILL", "--full", "--user=root", check=False)
        self.run("scancel", "--user=root", check=False)
        wait_until(lambda: not self.run("squeue", "--noheader"), 60, "jobs are still there")

    def run(self, *command: str, cwd: Path | None = None, check: bool = True, timeout: float = 60) -> str:
        """Return what a command of SLURM prints."""
        done = subprocess.run(command, cwd=cwd, env=self.env, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, script: Path, *options: str, cwd: Path) -> str:
        """Submit a batch script from a folder, and return the number of the job."""
        return self.run("sbatch", "--parsable", *options, str(script), cwd=cwd)

    def job(self, number: str) -> dict[str, str]:
        """Return what SLURM says of a job, one of an array as 12_0: JobState, ExitCode, Restarts, ..."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ended(self, number: str, seconds: float = 900) -> dict[str, str]:
        """Wait until a job has ended for good, and return what SLURM says of it."""
        wait_until(
            lambda: self.job(number)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED"),
            seconds,
            lambda: f"job {number} has not ended: {self.job(number)}",
        )
        return self.job(number)

    def process(self, number: str, rank: int) -> int:
        """Return the process id of one rank of a job that runs."""
        for process, variables in processes():
            if {f"SLURM_JOB_ID={number}", f"SLURM_PROCID={rank}", "SLURM_STEP_ID=0"} <= variables:
                command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
                if b"fit" in command and b"srun" not in command:
                    return process
        raise ProcessLookupError(f"rank {rank} of job {number} does not run")

    def _name_nodes(self) -> None:
        """Let the nodes' names resolve, on which the processes of a run meet."""
        with HOSTS.open("ab") as hosts:  # in place: it may be mounted
            hosts.write(NAMES)
        self.has_named_nodes = True

    def _write_config(self) -> None:
        host = socket.gethostname()
        controller_port, *ports = free_ports(1 + len(NODES))
        nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports, strict=True)]
        config = CONFIG.format(
            host=host,
            folder=self.folder,
            controller_port=controller_port,
            requeue_delay=5,
            nodes="\n".join(nodes),
            names=",".join(NODES),
            partition=PARTITION,
        )
        (self.folder / "slurm.conf").write_text(config)
        for number in range(4):  # GPUs that are counted and given away, but not there
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-3]\n")
        (self.folder / "state").mkdir()

    def _daemon(self, program: str, *args: str) -> None:
        log = (self.folder / f"{program}-{len(self.daemons)}.out").open("wb")
        command = [str(which(program)), *args]
        self.daemons.append(
            subprocess.Popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which stop the daemons
            )
        )

    def _node_states(self) -> str:
        return self.run("sinfo", "--noheader", "--Node", "--format=%N %T", check=False)

    def _is_idle(self) -> bool:
        return sorted(self._node_states().splitlines()) == [f"{name} idle" for name in NODES]


MUNGE_FILES = {
    "key-file": "key",
    "log-file": "log",
    "pid-file": "pid",
    "seed-file": "seed",
    "socket": "socket",
}
