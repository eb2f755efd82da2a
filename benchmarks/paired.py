"""Paired timing of programs: alternately, on the same work, with a ratio per round.

Absolute times of a shared machine drift by 50% and more within minutes; two programs that take turns drift together.
So what counts is the ratio of a round: the time of the peer divided by ours, taken seconds apart. A program of this
folder describes its work, checks that all contestants do the same, and has `compare` time them:

    comparison = compare(
        "t5_training", "T5 of Multi30k, one step", {"ours": our_step, "transformers": their_step}, check, rounds=10
    )
    print(comparison)
    comparison.write("results/benchmarks")
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe
from benchmarks.memory import PeakMemory
from utils.files import write_text

CPU = torch.device("cpu")
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


@dataclass(frozen=True)
class Measured:
    """Result of a contestant that measures itself, for example a fit that leaves out its start."""

    seconds: float
    peak_mib: float | None = None
    result: Any = None


@dataclass
class Comparison:
    """Times of several contestants, of which the first is ours, over the same rounds."""

    name: str
    work: str
    device: torch.device
    checked: str
    """What `check` found to be equal."""
    times: dict[str, list[float]]
    """Seconds of each contestant in each round."""
    peaks_mib: dict[str, float | None]
    figures: dict[str, Any] = field(default_factory=dict)
    """Other figures of the work: tokens per second, share of the peak arithmetic, ..."""

    @property
    def ours(self) -> str:
        """Name of the first contestant."""
        return next(iter(self.times))

    def median(self, contestant: str) -> float:
        """Return the median time of a contestant in seconds."""
        return statistics.median(self.times[contestant])

    def ratios(self, peer: str) -> list[float]:
        """Return the time of a peer divided by ours, round by round: above 1, ours is faster."""
        return [theirs / ours for ours, theirs in zip(self.times[self.ours], self.times[peer], strict=True)]

    def ratio(self, peer: str) -> float:
        """Return the median of the ratios: the figure to quote."""
        return statistics.median(self.ratios(peer))

    def as_values(self) -> dict[str, Any]:
        """Return everything as plain values."""
        contestants = {
            name: {
                "median_s": _rounded(statistics.median(times)),
                "min_s": _rounded(min(times)),
                "max_s": _rounded(max(times)),
                "peak_mib": _rounded(self.peaks_mib[name]),
            }
            for name, times in self.times.items()
        }
        ratios = {
            peer: {
                "median": _rounded(self.ratio(peer)),
                "min": _rounded(min(self.ratios(peer))),
                "max": _rounded(max(self.ratios(peer))),
            }
            for peer in list(self.times)[1:]
        }
        return {
            "name": self.name,
            "work": self.work,
            "checked": self.checked,
            "rounds": len(self.times[self.ours]),
            "contestants": contestants,
            "ratios": ratios,
            "figures": {name: _rounded(value) for name, value in self.figures.items()},
            "machine": describe(self.device),
        }

    def write(self, folder: str | Path) -> Path:
        """Write FOLDER/NAME_DEVICE.json and return its path."""
        path = Path(folder) / f"{self.name}_{self.device.type}.json"
        write_text(path, json.dumps(self.as_values(), indent=2) + "\n")
        return path

    def __str__(self) -> str:
        """Return the medians, the ratios with their range, and the other figures as one line."""
        times = ", ".join(f"{name} {self.median(name):.4g} s" for name in self.times)
        ratios = []
        for peer in list(self.times)[1:]:
            lowest, highest = min(self.ratios(peer)), max(self.ratios(peer))
            ratios.append(f"{peer} / {self.ours} {self.ratio(peer):.2f} ({lowest:.2f} to {highest:.2f})")
        figures = [f"{name} {_rounded(value)}" for name, value in self.figures.items()]
        return "; ".join([f"{self.work}: {times}", *ratios, *figures])


def compare(
    name: str,
    work: str,
    contestants: Mapping[str, Callable[[], Any]],
    check: Callable[[], str],
    *,
    rounds: int,
    warm_up: int = 1,
    device: torch.device = CPU,
    clock: Callable[[], float] = time.perf_counter,
    limit: float = float("inf"),
) -> Comparison:
    """Time contestants in turns; who begins rotates from round to round.

    Args:
        name: Name of the row, and of its file.
        work: What is done, in words.
        contestants: What to time, ours first. A contestant that returns `Measured` has timed itself.
        check: Called first: raises if the contestants do not do the same work, else returns what was compared and how
            closely it agreed.
        rounds: Number of timed rounds, at least 1.
        warm_up: Number of untimed rounds before them.
        device: Where the work is done: on a GPU the clock waits for it.
        clock: The clock, in seconds; for example one of CPU time.
        limit: Seconds, from the start of the check on, after which no further round begins, beyond the first.
    """
    end = time.monotonic() + limit
    checked = check()
    times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    peaks: dict[str, float | None] = dict.fromkeys(contestants)
    names = list(contestants)
    for number in range(-warm_up, rounds):
        if number > 0 and time.monotonic() > end:
            break
        first = number % len(names)
        for contestant in names[first:] + names[:first]:
            measured = _measure(contestants[contestant], device, clock)
            if number >= 0:
                times[contestant].append(measured.seconds)
                peaks[contestant] = _larger(peaks[contestant], measured.peak_mib)
    return Comparison(name, work, device, checked, times, peaks)


def _measure(contestant: Callable[[], Any], device: torch.device, clock: Callable[[], float]) -> Measured:
    """Return time and peak memory of one call."""
    with PeakMemory(device) as peak:
        start = _now(device, clock)
        result = contestant()
        seconds = _now(device, clock) - start
    return result if isinstance(result, Measured) else Measured(seconds, peak.mib)


def _now(device: torch.device, clock: Callable[[], float]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()


def _larger(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _rounded(value: Any) -> Any:
    """Return a float with four significant digits, anything else as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def options(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every program here has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", type=torch.device, help="cpu, cuda, cuda:1, ... (default: cpu)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default: what the program needs)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="seconds after which no new round starts")
    parser.add_argument("--quick", action="store_true", help="a tiny version of the same work, to check that it runs")
    parser.add_argument("--output", type=Path, help="folder of the JSON file (default: none is written)")
    return parser


def add_compile_option(parser: argparse.ArgumentParser) -> None:
    """Add `--compile MODE` to a program that trains."""
    modes = ("default", "reduce-overhead", "max-autotune")
    parser.add_argument("--compile", choices=modes, help="compile our network, in this mode of torch.compile")


def finish(comparison: Comparison, args: argparse.Namespace) -> None:
    """Print a comparison and, with `--output`, write it."""
    print(comparison, flush=True)
    if args.output is not None:
        comparison.write(args.output)
