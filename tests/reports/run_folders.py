"""Folders of runs as a fit leaves them, small, with hostile text in them."""

import json
from pathlib import Path

import yaml

HOSTILE = "<script>alert(1)</script>"

RECORD = {
    "command": "oneforall fit --config a.yaml",
    "commits": ["abc1234"],
    "state": "Training ended after 3 of 3 epochs.",
    "ended": True,
    "network": "CustomCNN",
    "parameters": 1234,
    "trainable": 1200,
    "multiply_adds": 5678,
    "input_size": 32,
    "epochs": 3,
    "steps": 30,
    "examples": 300,
    "unit": "images",
    "seconds": 65.0,
    "validation_seconds": 0.9,
    "throughput": 300 / 64.1,
    "epoch_seconds": {"1": 30.0, "2": 50.0, "3": 65.0},
    "limits": {},
    "hardware": "a | b, 2 cores",
    "precision": "32-true",
    "versions": {"torch": "2.9", "lightning": "2.6"},
    "trackers": [],
}

METRICS = """epoch,step,val/loss,val/accuracy,train/loss,lr,grad_norm/total
0,9,0.9,0.5,1.0,0.1,3.0
1,19,0.6,0.8,0.7,0.05,2.0
2,29,0.5,0.9,0.5,0.0,1.0
"""

THROUGHPUT = "epoch,seconds,images\n1,2.0,100\n2,1.0,100\n3,1.0,100\n"


def model(class_path: str, **init_args: object) -> dict[str, object]:
    return {"class_path": class_path, "init_args": init_args}


def make_run(
    parent: Path, name: str = "run", seed: int = 0, kind: str = "image_classifier.ImageClassifier", **more: object
) -> Path:
    """Make the folder of a run that has trained and was not tested; `more` are arguments of its model."""
    folder = parent / name
    (folder / "checkpoints").mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 3, "precision": None},
        "model": model(f"lightning_modules.{kind}", label_smoothing=0.1, note=HOSTILE, **more),
        "checkpoint": {"monitor": "val/accuracy", "mode": "max"},
        "name": None,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "metrics.csv").write_text(METRICS, encoding="utf-8")
    (folder / "throughput.csv").write_text(THROUGHPUT, encoding="utf-8")
    (folder / "summary.md").write_text("# name\n", encoding="utf-8")
    put(folder / "run.json", RECORD)
    return folder


def put(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
