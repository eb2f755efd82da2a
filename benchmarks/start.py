"""Benchmark of the start: CPU seconds of `oneforall --help` and similar commands against those of `import torch`.

python -m benchmarks.start
"""

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.paired import compare, finish, options

ROOT = Path(__file__).parents[1]
PROGRAM = "from command_line.start import main; main()"
COMMANDS = {
    "--help": (["--help"], 0),
    "--version": (["--version"], 0),
    "fit --help": (["fit", "--help"], 0),
    "unknown command": (["trian"], 2),
    "missing config": (["fit", "--config", "nowhere.yaml"], 2),
}
"""What is started, and the exit code that it must have."""


def children_cpu_seconds() -> float:
    """Return the CPU seconds, user and system, of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def starter(code: str, arguments: list[str], expected: int) -> Callable[[], None]:
    """Return a function that runs Python code in a new process, which must end with the expected code."""

    def start() -> None:
        command = [sys.executable, "-c", code, *arguments]
        outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if outcome.returncode != expected:
            raise AssertionError(f"{arguments or code} ended with {outcome.returncode}: {outcome.stderr[-500:]}")

    return start


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    args = options("benchmarks.start", __doc__).parse_args(arguments)
    commands = {"--version": COMMANDS["--version"]} if args.quick else COMMANDS
    for name, how in commands.items():
        comparison = compare(
            f"start_{re.sub('[^a-z]+', '_', name).strip('_')}",
            f"CPU seconds of a start: {name}",
            {"ours": starter(PROGRAM, *how), "import torch": starter("import torch", [], 0)},
            lambda: "each ends with the exit code that it should",
            rounds=args.rounds or (1 if args.quick else 3),
            warm_up=0 if args.quick else 1,
            clock=children_cpu_seconds,
            limit=args.seconds / len(commands),
        )
        comparison.peaks_mib = dict.fromkeys(comparison.times)  # that of this process is not theirs
        finish(comparison, args)


if __name__ == "__main__":
    main()
