"""Torture of `--resume`: stop the program at random moments, resume it, and compare with a run that was never stopped.

Each trial starts `oneforall fit`, stops it by a signal at a random moment (and, now and then, stops the resumed run
again), resumes it to the end and compares weights, optimizer, schedule and metrics.csv, to the last bit, with the
uninterrupted run. A trial with a "disk" that fills up limits the size of the files that the first start may write.
Run from the root of the repository:

    python -m benchmarks.torture --trials 20
    python -m benchmarks.torture --recipe texts --stops KILL
"""

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

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
STOPS = ("KILL", "TERM", "INT", "DISK")
EXIT_CODES = {"KILL": (-signal.SIGKILL,), "TERM": (143,), "INT": (130,), "DISK": (1, 2)}
COMPARED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")


def start(arguments: list[str], log: Path, file_bytes: int | None = None) -> int:
    """Start the program in a fork of this process, which has done the imports, and return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        import cli

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


def wait(process: int) -> int:
    """Return the exit code of a process, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def stop_after(process: int, seconds: float, number: signal.Signals) -> int:
    """Send a signal to a process after some time, unless it has ended by then, and return its exit code."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, number)
    return wait(process)


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
    """Return what differs between the folders of two runs, of what the training has made."""
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
        draw: Where random moments come from.
        seconds: How long the uninterrupted run took.
    """

    def __init__(self, fit: list[str], folder: Path, draw: random.Random, seconds: float):
        self.command = [*fit, "--run_dir", str(folder)]
        self.log = folder.with_suffix(".log")
        self.draw = draw
        self.seconds = seconds
        self.problems: list[str] = []

    def stop(self, kind: str, resumed: bool) -> str:
        """Start or resume the run, stop it at a random moment, check how it ended, and say so."""
        arguments = [*self.command, *(["--resume"] if resumed else [])]
        printed = self.log.stat().st_size if self.log.exists() else 0
        if kind == "DISK":
            limit = self.draw.randint(1_000, 60_000)
            code, when = wait(start(arguments, self.log, limit)), f"files of {limit} bytes"
        else:
            moment = self.draw.uniform(0.0, self.seconds)
            number = signal.Signals[f"SIG{kind}"]
            code, when = stop_after(start(arguments, self.log), moment, number), f"after {moment:.2f} s"
        said = self.log.read_bytes()[printed:].decode(errors="replace")
        if code not in (0, *EXIT_CODES[kind]):
            self.problems.append(f"{kind} {when}: exit code {code}")
        if "Traceback" in said:
            self.problems.append(f"{kind} {when}: traceback")
        return f"{kind} {when}: exit {code}"

    def finish(self) -> None:
        """Resume the run until its end."""
        if code := wait(start([*self.command, "--resume"], self.log)):
            self.problems.append(f"resumed run: exit code {code}")


def torture(recipe: str, stops: list[str], trials: int, seed: int, folder: Path, report: Callable[[str], None]) -> int:
    """Run the trials in `folder`; return in how many of them something was lost or different."""
    (folder / "ema.yaml").write_text(EMA, encoding="utf-8")
    fit = ["fit", *RECIPES[recipe], "--config", str(folder / "ema.yaml"), *OFTEN]
    started = time.monotonic()
    if code := wait(start([*fit, "--run_dir", str(folder / "whole")], folder / "whole.log")):
        raise RuntimeError(
            f"the uninterrupted run ended with exit code {code}:\n{(folder / 'whole.log').read_text(encoding='utf-8')}"
        )
    seconds = time.monotonic() - started
    report(f"{recipe}: the uninterrupted run took {seconds:.1f} s; logs and folders in {folder}")

    draw, failed = random.Random(seed), 0
    for number in range(1, trials + 1):
        run = folder / f"run-{number}"
        trial = Trial(fit, run, draw, seconds)
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
    parser.add_argument("--trials", type=int, default=20, help="number of runs that are stopped (default: 20)")
    parser.add_argument("--recipe", choices=[*RECIPES, "all"], default="all", help="what to train (default: all)")
    parser.add_argument("--stops", nargs="+", choices=STOPS, default=list(STOPS), help="ways to stop, in turn")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--folder", type=Path, help="folder for runs and logs, kept (default: a temporary one)")
    options = parser.parse_args()

    from command_line.process import import_packages
    from utils.trust import PACKAGES

    torch.set_num_threads(1)
    import_packages(PACKAGES)
    recipes = list(RECIPES) if options.recipe == "all" else [options.recipe]
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for recipe in recipes:
            folder = (options.folder or Path(temporary)) / recipe
            folder.mkdir(parents=True)
            trials = options.trials // len(recipes)
            failed += torture(recipe, options.stops, trials, options.seed, folder, lambda line: print(line, flush=True))
    print(f"{failed} runs lost or different of {options.trials // len(recipes) * len(recipes)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
