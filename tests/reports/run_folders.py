"""Folders of runs as a fit leaves them, small, with hostile text in them."""

import json
from pathlib import Path

import yaml

HOSTILE = "<script>alert(1)</script>"

SUMMARY = """# name

Training ended after 3 of 3 epochs.

## Validation

| metric | last | best | best after epoch |
| --- | --- | --- | --- |
| val/accuracy | 0.9000 | 0.9000 | 3 |

<!-- test --><!-- end of test -->

## Model

CustomCNN: 1,234 parameters, 1,200 trainable.

| part | parameters | trainable |
| --- | --- | --- |
| `head` | 1,234 | 1,200 |

## Training

|  |  |
| --- | --- |
| time | 1 min 05 s, including 0.9 s of validation |
| hardware | a \\| b, 2 cores |

## Reproduce

The command of this run:

```
oneforall fit --config a.yaml
```
"""

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
    (folder / "summary.md").write_text(SUMMARY, encoding="utf-8")
    return folder


def put(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
