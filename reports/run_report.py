"""report.html: a run on one page."""

from __future__ import annotations

import base64
import os
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from callbacks.plots.metric_lines import read_panels
from callbacks.run.folder_contents import CONTENTS
from callbacks.run.record_text import model_line, training_facts
from callbacks.run.throughput_file import read_throughput
from reports.charts import (
    Chart,
    calibration_error,
    confidence_chart,
    metric_charts,
    reliability_chart,
    throughput_chart,
)
from reports.classes import confusions_of
from reports.page import render
from reports.run_files import RunFiles
from reports.settings import settings_of
from reports.texts import read_examples
from utils.error_text import text_of
from utils.files import write_text

NAME = "report.html"

KINDS = {"ImageClassifier": "images", "TextSeq2Seq": "text"}
"""Kind of the sections of a report, by the class of the model."""


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write `report.html` into a run folder, and return its path.

    Raises:
        FileNotFoundError: It is not a run folder.
        ValueError: A file in it is damaged.
    """
    run = RunFiles(folder)
    path = run.folder / NAME
    write_text(path, render("report.html", **content_of(run)))
    return path


def report_after(folder: Path) -> None:
    """Write the report at the end of a fit or a test; if that fails, print why in one line, and do not raise."""
    try:
        print(f"report: {write_report(folder)}", flush=True)
    except (ValueError, OSError) as error:  # what a user can fix, such as a missing extra
        print(f"no report: {text_of(error)}", flush=True)
    except Exception as error:  # the run is done and its files are there, so nothing may raise
        again = shlex.join(["oneforall", "report", str(folder), "--debug"])
        print(f"no report ({type(error).__name__}: {text_of(error)}); `{again}` shows more", flush=True)


def content_of(run: RunFiles) -> dict[str, Any]:
    """Return the content of the page, by the names that its template uses."""
    return {
        "run": run,
        "command": _Commands(run),
        "kind": _kind(run),
        "headline": _headline(run),
        "model": model_line(run.record) if run.record else "",
        "environment": training_facts(run.record) if run.record else [],
        "settings": settings_of(run.config),
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) if run.config else "",
        "charts": [chart.plain() for chart in _curves(run)],
        "links": [(name, quote(name), what) for name, what in CONTENTS.items() if run.has(name) and name != NAME],
        **_of_images(run),
        **_of_text(run),
    }


class _Commands:
    """Commands that add what a page lacks."""

    def __init__(self, run: RunFiles) -> None:
        folder = str(run.folder)
        self.test = shlex.join(["oneforall", "test", "--ckpt_path", folder])
        self.report = shlex.join(["oneforall", "report", folder])

    def test_with(self, callback: str) -> str:
        """Return the command that tests with another callback."""
        return f"{self.test} --trainer.callbacks+={callback}"


def _kind(run: RunFiles) -> str:
    """Return `images`, `text`, or an empty string for a model without special sections."""
    model = str((run.config.get("model") or {}).get("class_path")).rpartition(".")[2]
    if model in KINDS:
        return KINDS[model]
    return "images" if run.has("reliability.json") else "text" if run.has("test_outputs.jsonl") else ""


def _headline(run: RunFiles) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the page: name, value and a note."""
    found = []
    if run.best:
        found.append((f"best {run.monitor}", f"{run.best.best:.4g}", f"epoch {run.best.best_epoch:g}"))
    found += [(name, f"{score:.4g}", "") for name, score in run.test_scores.items()]
    facts = {"epochs": str(run.epochs or ""), "time": run.time, "parameters": run.parameters}
    return found + [(name, value, "") for name, value in facts.items() if value]


def _curves(run: RunFiles) -> list[Chart]:
    charts = metric_charts(read_panels(run.folder / "metrics.csv")) if run.has("metrics.csv") else []
    unit, rows = read_throughput(run.folder / "throughput.csv")
    return [*charts, throughput_chart(unit, rows)] if rows else charts


def _of_images(run: RunFiles) -> dict[str, Any]:
    confusion, mistakes, reliability = (
        run.data(f"{name}.json") for name in ("confusion_matrix", "mistakes", "reliability")
    )
    bins = reliability["bins"] if reliability else []
    with run.reading("confusion_matrix.json"):
        confusions = confusions_of(confusion) if confusion else None
    with run.reading("reliability.json"):
        error = calibration_error(bins) if bins else None
        charts = [reliability_chart(bins).plain(), confidence_chart(bins).plain()] if bins else []
    return {
        "filters": run.data("filters.json"),
        "filters_png": _data_uri(run, "filters.png"),
        "confusions": confusions,
        "confusion_png": None if confusion else _data_uri(run, "confusion_matrix.png"),
        "mistakes": mistakes,
        "mistakes_png": None if mistakes else _data_uri(run, "mistakes.png"),
        "reliability": reliability,
        "calibration_error": error,
        "reliability_charts": charts,
    }


def _of_text(run: RunFiles) -> dict[str, Any]:
    attention = run.data("attention.json")
    examples = read_examples(run.folder / "test_outputs.jsonl") if run.has("test_outputs.jsonl") else None
    return {
        "examples": examples,
        "length_chart": examples.lengths.plain() if examples else None,
        "attention": attention,
        "attention_png": None if attention else _data_uri(run, "attention.png"),
    }


def _data_uri(run: RunFiles, name: str) -> str | None:
    """Return a PNG file of the run as an address that holds the image itself; None if there is no such file."""
    if not run.has(name):
        return None
    return f"data:image/png;base64,{base64.b64encode((run.folder / name).read_bytes()).decode()}"
