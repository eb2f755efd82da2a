"""Runner of several benchmarks, one after the other, each in its own process with a time limit."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paired import RESULTS
from benchmarks.table import table

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """A benchmark to run.

    Args:
        program: Module of this folder.
        arguments: Its arguments.
        seconds: Its time limit. After three quarters of it no further round begins; at its end the program is killed.
    """

    program: str
    arguments: tuple[str, ...]
    seconds: float


def options_of_rows(name: str, description: str | None, peers: str) -> argparse.ArgumentParser:
    """Return the parser of a program that runs rows.

    Args:
        name: Module of this folder.
        description: Its docstring.
        peers: What the folder of the peers holds.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets (default: data)")
    parser.add_argument("--peers", type=Path, help=f"folder that holds {peers}")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--only", nargs="+", help="programs to run (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny versions, to check that they run; needs another --output"
    )
    return parser


def check_output(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse to write tiny versions where the published figures are."""
    if args.quick and args.output.absolute() == RESULTS:
        parser.error("--quick would replace the published figures: pass --output DIR")


def run_rows(rows: Sequence[Row], common: Sequence[str], output: Path, budget: float) -> int:
    """Run the rows, print the table of what they wrote and which failed, and return the number of the latter.

    Args:
        rows: The rows. One that fails or runs out of time does not keep the others from running.
        common: Arguments of every program.
        output: Folder of the JSON files; each row writes its own as soon as it is done.
        budget: Seconds for all rows together.
    """
    end, begun, failed = time.monotonic() + budget, time.time(), list[str]()
    for row in rows:
        seconds = min(row.seconds, end - time.monotonic())
        if seconds < 5:
            print(f"-- {row.program}: skipped, no time is left", flush=True)
            failed.append(f"{' '.join((row.program, *row.arguments))} (no time was left)")
            continue
        print(f"-- {row.program} {' '.join(row.arguments)}", flush=True)
        start = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{row.program}", *row.arguments, *common]
        status = _run([*command, "--seconds", str(0.75 * seconds), "--output", str(output)], seconds)
        if status:
            failed.append(f"{' '.join((row.program, *row.arguments))} ({status})")
            print(f"-- {row.program}: {status}", flush=True)
        print(f"-- {row.program}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{table(output, since=begun)}", flush=True)
    if failed:
        print("\nwithout a figure of this run:", *failed, sep="\n  ", flush=True)
    return len(failed)


def _run(command: Sequence[str], seconds: float) -> str | None:
    """Run a command in the root of the sources; return what went wrong, None if nothing did."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    finally:
        _end_group(process)
    return f"failed with exit code {code}" if code else None


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and those that it has started, such as loader workers."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
