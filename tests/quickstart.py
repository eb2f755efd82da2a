"""The quickstart configs, the first of them made small enough for seconds, and what a run leaves."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "configs/quickstart/images.yaml")
SEQ2SEQ = str(ROOT / "configs/quickstart/seq2seq.yaml")
HAS_REPORTS = all(map(importlib.util.find_spec, ("jinja2", "plotly")))
# a net and an epoch small enough for seconds
SMALL = ["--model.architecture.widths", "[8,8,8]", "--trainer.limit_train_batches", "4", "--trainer.max_epochs", "2"]


def checkpoint_of(folder: Path, name: str = "best.ckpt") -> str:
    return str(folder / "checkpoints" / name)
