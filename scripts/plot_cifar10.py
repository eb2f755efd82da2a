"""Plot of test accuracy against multiply-adds of the CIFAR-10 runs in results/, as results/cifar10_cpu.png.

    python -m scripts.plot_cifar10 [RESULTS_FOLDER]

Each run folder needs `config.yaml`, which names the network, `test_metrics.json` and, for the open markers,
`test_metrics_originals.json`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from matplotlib.figure import Figure

from callbacks.model_size import image_multiply_adds
from utils.files import atomic_path


class Run(NamedTuple):
    """Result of one run: accuracies in percent, cost in millions of multiply-adds for a 32x32 image."""

    name: str
    cost: float
    accuracy: float
    originals: float | None


def read_run(folder: Path) -> Run:
    """Read the result of a run and count its network's multiply-adds."""
    named = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model"]["init_args"]["architecture"]
    module, _, class_name = named["class_path"].rpartition(".")
    network = getattr(importlib.import_module(module), class_name)(**named.get("init_args", {}))
    depth = named.get("init_args", {}).get("depth")
    name = f"{class_name}-{depth}" if depth else class_name
    cost = image_multiply_adds(network, 32)
    assert cost is not None, f"{folder}: the multiply-adds of {class_name} cannot be counted"
    originals = folder / "test_metrics_originals.json"
    return Run(
        name, cost / 1e6, _percent(folder / "test_metrics.json"), _percent(originals) if originals.exists() else None
    )


def draw(runs: list[Run]) -> Figure:
    """Plot one labelled marker per run: filled for the JPEG-75 copy, open for the original images."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes: Any = figure.add_subplot()
    for place, run in enumerate(runs):
        axes.plot(run.cost, run.accuracy, "o", color=f"C{place}", markersize=9)
        axes.annotate(run.name, (run.cost, run.accuracy), (7, -4), textcoords="offset points")
        if run.originals is not None:
            axes.plot(run.cost, run.originals, "o", color=f"C{place}", markersize=7, fillstyle="none")
    axes.plot([], [], "ko", label="test set, JPEG-75 copy")
    axes.plot([], [], "ko", fillstyle="none", label="1,017 originals")
    axes.margins(x=0.22)
    axes.set(
        xlabel="multiply-adds per 32x32 image (millions)",
        ylabel="test accuracy without TTA (%)",
        title="CIFAR-10 on two CPU cores",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _percent(file: Path) -> float:
    return 100 * float(json.loads(file.read_text(encoding="utf-8"))["test/accuracy"])


if __name__ == "__main__":
    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    found = [folder for folder in sorted(results.iterdir()) if (folder / "test_metrics.json").exists()]
    runs = [
        read_run(folder)
        for folder in found
        if "ImageClassifier" in (folder / "config.yaml").read_text(encoding="utf-8")
    ]
    with atomic_path(results / "cifar10_cpu.png") as path:
        draw(runs).savefig(path, dpi=110)
    for run in runs:
        print(f"{run.name:<14}{run.cost:8.1f}M  {run.accuracy:.2f}")
