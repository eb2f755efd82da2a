"""Folders of runs as fits and tests leave them."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reports.run_folders import HOSTILE, make_run, put


@pytest.fixture
def fitted(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a run that has trained and was not tested (`make_run`)."""
    return partial(make_run, tmp_path)


@pytest.fixture
def images_run(fitted: Callable[..., Path]) -> Path:
    """A tested run of images; one class is called like a script."""
    folder = fitted("images")
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    put(folder / "test_metrics.json", {"test/accuracy": 0.8, "test/loss": 0.4, "test/class_accuracy/cat": 0.9})
    put(
        folder / "confusion_matrix.json",
        {"of": "test", "classes": ["cat", HOSTILE, "cow"], "cells": [[0, 0, 9], [0, 1, 1], [1, 1, 6], [1, 0, 4]]},
    )
    mistake = {"true": HOSTILE, "predicted": "cat", "confidence": 0.987, "image": image}
    mistake["heat"] = {"predicted": image, "true": image}
    put(folder / "mistakes.json", {"of": "test", "mistakes": [mistake] * 3, "heat_stage": "layer3", "no_heat": None})
    filters = {"layer": "conv1", "filters": 300, "shown": 256, "channels": 3, "height": 3, "width": 3}
    put(folder / "filters.json", {"of": "test", **filters})
    (folder / "filters.png").write_bytes(file.getvalue())
    bins = [
        {"examples": 10, "correct": 6, "confidence": 0.55},
        {"examples": 30, "correct": 27, "confidence": 0.95},
    ]
    put(folder / "reliability.json", {"of": "test", "bins": bins})
    return folder


@pytest.fixture
def text_run(fitted: Callable[..., Path]) -> Path:
    """A tested run of text; a source, a token and an output are scripts."""
    folder = fitted("text", kind="text_seq2seq.TextSeq2Seq")
    put(folder / "test_metrics.json", {"test/bleu": 31.5, "test/chrf": 55.0, "signature": "nrefs:1|case:mixed"})
    rows = [
        {"index": 0, "source": HOSTILE, "references": ["a man sleeps"], "hypothesis": "a man sleeps", "score": -0.1},
        {
            "index": 1,
            "source": "x y",
            "references": ["the red dog", "a red dog"],
            "hypothesis": "a red cat",
            "score": None,
        },
        {"index": 2, "source": "z w", "references": ["two men"], "hypothesis": f"two {HOSTILE}", "score": -2.5},
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "test_outputs.jsonl").write_text(lines, encoding="utf-8")
    source = [HOSTILE, *(f"␣word{place}" for place in range(119))]
    weights = np.random.default_rng(0).integers(0, 256, (2, 12, len(source)), np.uint8)
    attention = {
        "index": 0,
        "source": source,
        "target": [f"␣out{place}" for place in range(12)],
        "depth": 6,
        "layers": {str(layer + 1): base64.b64encode(weights[layer].tobytes()).decode() for layer in range(2)},
    }
    put(folder / "attention.json", {"of": "test", "maps": [attention]})
    return folder


@pytest.fixture
def chromium() -> str:
    """The browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    return found
