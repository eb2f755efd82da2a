"""Stress test of `--resume`: stop the program at random moments, resume it, and compare with an uninterrupted run.

Each trial starts `oneforall fit`, stops it by a signal at a random moment (and, now and then, stops the resumed run
again), resumes it to the end and compares weights, optimizer, schedule and metrics.csv, to the last bit, with the
uninterrupted run. A trial with a "disk" that fills up limits the size of the files that the first start may write.
With several processes a signal goes to one of them, drawn at random: all must end. Run from the root of the repository:

    python -m benchmarks.torture --trials 20
    python -m benchmarks.torture --recipe texts --stops KILL --processes 2
"""

import argparse
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

OFTEN = ["--resume_checkpoint.every_n_steps", "2", "--resume_checkpoint.every_n_seconds", "1000"]
RECIPES = {
    "images": [
        *["--config", "quickstart/images.yaml", "--model.architecture.widths", "[8,8,8]", "--trainer.max_epochs", "3"],
        *["--data.augmentation.mixup_alpha", "0.2", "--data.augmentation.flip", "random", "--model.tta", "none"],
        *["--trainer.val_check_interval", "0.5"],
    ],
    "texts": [
        *["--config", "quickstart/seq2seq.yaml", "--trainer.max_epochs", "2", "--trainer.accumulate_grad_batches", "2"],
        *["--model.architecture.config.d_model", "32", "--model.architecture.config.d_ff", "64"],
        *["--model.architecture.config.dropout_rate", "0.1", "--data.tokenizer_model", "bpe"],
        *["--data.bpe_dropout", "0.1", "--data.task.num_train", "1500", "--data.batch_tokens", "1024"],
        *["--model.validation_examples", "20"],
    ],
}
EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.9}\n"
STOPS = ("KILL", "TERM", "INT", "USR1", "DISK")
EXIT_CODES = {"KILL": (-signal.SIGKILL,), "TERM": (143,), "INT": (130,), "USR1": (138,), "DISK": (1, 2)}
CONNECTED = b"All distributed processes registered"
TRAINING = " of epoch 1/"  # of the first progress line
MOST_SECONDS = 60.0  # from the death of one process to the end of the others
COMPARED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")


def fork(arguments: list[str], output: int, environment: dict[str, str], file_bytes: int | None) -> int:
    """Start the program as one process, or as one of several if the environment says so, and return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        import cli

        os.environ.update(environment)
        # Lightning read the variable when it was imported
        rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))  # type: ignore[attr-defined]
        cli.main(arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Processes:
    """The program as one or several processes, forks of this one, which has done the imports.

    Args:
        arguments: The command line.
        log: The file that their output goes to.
        count: Number of processes.
        file_bytes: How large a file they may write, if that is limited.
    """

    def __init__(self, arguments: list[str], log: Path, count: int, file_bytes: int | None = None):
        self.codes: dict[int, int | None] = {}
        ranks: list[dict[str, str]] = [{}]
        if count > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
            ranks = [{**shared, "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)} for rank in range(count)]
            arguments = [*arguments, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
            arguments += ["--trainer.devices", str(count)]
        with log.open("ab") as file:  # through a pipe: the limit on files is not for the log
            self._log = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        assert self._log.stdin is not None
        for environment in ranks:
            self.codes[fork(arguments, self._log.stdin.fileno(), environment, file_bytes)] = None
        self._log.stdin.close()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for all of them to end, and return whether they have."""
        deadline = time.monotonic() + seconds
        while None in self.codes.values():
            for process in [process for process, code in self.codes.items() if code is None]:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    self.codes[process] = os.waitstatus_to_exitcode(status)
            if time.monotonic() >= deadline:
                return None not in self.codes.values()
            time.sleep(0.001)
        self._log.wait(MOST_SECONDS)
        return True

    def exit_codes(self) -> list[int | None]:
        """Return the exit codes in the order of their ranks, negative where a signal ended one, None where it runs."""
        return list(self.codes.values())

    def send(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to one of them if it runs."""
        process = list(self.codes)[rank]
        if self.codes[process] is None:
            os.kill(process, number)

    def kill(self) -> None:
        """Kill those that run."""
        for rank in range(len(self.codes)):
            self.send(rank, signal.SIGKILL)
        self.wait(MOST_SECONDS)


def same(one: Any, other: Any) -> bool:
    """Return whether two nests of plain values and tensors are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def differences(reference: Path, resumed: Path) -> list[str]:
    """Return the differences between the training results in two run folders."""
    found = []
    if (reference / "metrics.csv").read_bytes() != (resumed / "metrics.csv").read_bytes():
        found.append("metrics.csv")
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (reference, resumed))
        found += [f"{name}: {key}" for key in COMPARED if not same(one.get(key), other.get(key))]
    found += [str(path.relative_to(resumed)) for path in resumed.rglob("*.tmp*")]
    return found


class Trial:
    """One run that is stopped, perhaps more than once, and resumed.

    Args:
        fit: The command line of the run, without its folder.
        folder: The run folder.
        draw: Source of the random moments.
        seconds: How long the uninterrupted run took.
        processes: Number of processes.
    """

    def __init__(self, fit: list[str], folder: Path, draw: random.Random, seconds: float, processes: int):
        self.command = [*fit, "--run_dir", str(folder)]
        self.log = folder.with_suffix(".log")
        self.draw = draw
        self.seconds = seconds
        self.processes = processes
        self.problems: list[str] = []

    def stop(self, kind: str, resumed: bool) -> str:
        """Start or resume the run, stop it at a random moment, check how it ended, and say so."""
        arguments = [*self.command, *(["--resume"] if resumed else [])]
        printed = self.log.stat().st_size if self.log.exists() else 0
        limit = self.draw.randint(1_000, 60_000) if kind == "DISK" else None
        processes = Processes(arguments, self.log, self.processes, limit)
        when = self.stop_one(processes, kind) if limit is None else f"files of {limit} bytes"
        has_ended = self.wait_for_end(processes, printed, kind)
        codes = processes.exit_codes()
        processes.kill()
        said = self.log.read_bytes()[printed:].decode(errors="replace")
        # A process beside one that was killed, or that failed or was stopped before all stop together, has an error
        together = kind not in ("KILL", "DISK") and TRAINING in said
        expected = (0, *EXIT_CODES[kind], *((1, 2, -signal.SIGKILL) if self.processes > 1 and not together else ()))
        if not has_ended or any(code not in expected for code in codes):
            self.problems.append(f"{kind} {when}: exit codes {codes}")
        if "Traceback" in said:
            self.problems.append(f"{kind} {when}: traceback")
        return f"{kind} {when}: exit {', '.join(map(str, codes))}"

    def wait_for_end(self, processes: Processes, printed: int, kind: str) -> bool:
        """Return whether all processes end; until they have connected, they are killed, as their launcher would do."""
        if processes.wait(20 * self.seconds if kind == "DISK" else 5.0):
            return True
        if CONNECTED not in self.log.read_bytes()[printed:]:
            processes.kill()
        return processes.wait(MOST_SECONDS)

    def stop_one(self, processes: Processes, kind: str) -> str:
        """Send a signal to one of the processes at a random moment; return the moment in words."""
        moment, rank = self.draw.uniform(0.0, self.seconds), self.draw.randrange(self.processes)
        if not processes.wait(moment):
            processes.send(rank, signal.Signals[f"SIG{kind}"])
        return f"after {moment:.2f} s" + (f" to rank {rank}" if self.processes > 1 else "")

    def finish(self) -> None:
        """Resume the run until its end."""
        processes = Processes([*self.command, "--resume"], self.log, self.processes)
        processes.wait(20 * self.seconds + MOST_SECONDS)
        if any(code != 0 for code in processes.exit_codes()):
            self.problems.append(f"resumed run: exit codes {processes.exit_codes()}")
            processes.kill()


def torture(
    recipe: str,
    stops: list[str],
    trials: int,
    seed: int,
    processes: int,
    folder: Path,
    report: Callable[[str], None],
) -> int:
    """Run the trials in `folder`; return the number in which something was lost or different."""
    (folder / "ema.yaml").write_text(EMA, encoding="utf-8")
    fit = ["fit", *RECIPES[recipe], "--config", str(folder / "ema.yaml"), *OFTEN]
    started = time.monotonic()
    whole = Processes([*fit, "--run_dir", str(folder / "whole")], folder / "whole.log", processes)
    whole.wait(3600)
    if any(code != 0 for code in whole.exit_codes()):
        log = (folder / "whole.log").read_text(encoding="utf-8")
        raise RuntimeError(f"the uninterrupted run ended with exit codes {whole.exit_codes()}:\n{log}")
    seconds = time.monotonic() - started
    report(f"{recipe}, {processes} processes: the uninterrupted run took {seconds:.1f} s; logs and folders in {folder}")

    draw, failed = random.Random(seed), 0
    for number in range(1, trials + 1):
        run = folder / f"run-{number}"
        trial = Trial(fit, run, draw, seconds, processes)
        said = [trial.stop(stops[(number - 1) % len(stops)], resumed=False)]
        while draw.random() < 0.4:
            said.append(trial.stop(draw.choice([kind for kind in stops if kind != "DISK"] or ["KILL"]), resumed=True))
        trial.finish()
        problems = trial.problems or differences(folder / "whole", run)
        failed += bool(problems)
        report(f"{number:3} {'DIFFERENT ' + '; '.join(problems) if problems else 'identical'} ({'; '.join(said)})")
    return failed


def main() -> None:
    """Run the trials that the command line asks for; exit with 1 if any run was lost or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="total number of runs to stop (default: 20)")
    parser.add_argument("--recipe", choices=[*RECIPES, "all"], default="all", help="what to train (default: all)")
    parser.add_argument("--stops", nargs="+", choices=STOPS, default=list(STOPS), help="ways to stop, in turn")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="processes per run (default: 1, then 2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--folder", type=Path, help="folder for runs and logs, kept (default: a temporary one)")
    options = parser.parse_args()

    from command_line.process import import_packages
    from utils.trust import PACKAGES

    torch.set_num_threads(1)
    import_packages(PACKAGES)
    recipes = list(RECIPES) if options.recipe == "all" else [options.recipe]
    kinds = [(recipe, processes) for processes in options.processes for recipe in recipes]
    trials, failed = options.trials // len(kinds), 0
    with tempfile.TemporaryDirectory() as temporary:
        for recipe, processes in kinds:
            folder = (options.folder or Path(temporary)) / f"{recipe}-{processes}"
            folder.mkdir(parents=True)
            report = partial(print, flush=True)
            failed += torture(recipe, options.stops, trials, options.seed, processes, folder, report)
    print(f"{failed} runs lost or different of {trials * len(kinds)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
