"""test_metrics.json: the metrics of a test, for programs to read."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from utils.batches import count_examples
from utils.contracts import GeneratesText
from utils.files import write_text

HEADLINE = {
    "accuracy": ("accuracy", ".2%"),
    "exact_match": ("exact match", ".2%"),
    "bleu": ("BLEU", ".2f"),
    "chrf": ("chrF", ".2f"),
    "rouge1": ("ROUGE-1", ".2f"),
    "rouge2": ("ROUGE-2", ".2f"),
    "rougeL": ("ROUGE-L", ".2f"),
    "bits_per_character": ("bits per character", ".3f"),
}
"""Names and formats of the metrics shown in the terminal; the file has all others too."""


def headline(metrics: Mapping[str, Tensor | float]) -> str:
    """Return the main metrics of a test in one line, such as `test BLEU 31.25, chrF 55.02`; empty if there are none."""
    parts = []
    for name, (words, form) in HEADLINE.items():
        if f"test/{name}" in metrics:
            part = f"{words} {float(metrics[f'test/{name}']):{form}}"
            augmented = metrics.get(f"test/{name}_tta")
            with_tta = "" if augmented is None else f" ({float(augmented):{form}} with test-time augmentation)"
            parts.append(part + with_tta)
    return f"test {', '.join(parts)}" if parts else ""


class TestMetrics(Callback):
    """Metrics of a test, `test_metrics.json` in the run folder.

    The file is flat: every logged `test/...` value unrounded (null if it is not finite), `signature` if the module has
    one (how text scores were computed), `checkpoint` (relative to the run folder if inside it; null without one) and
    `examples`, the number of test examples over all processes. It has no time or date, so that testing again writes the
    same bytes.
    """

    __test__ = False  # no test for pytest to collect, though its name begins with "Test"

    def __init__(self) -> None:
        self._examples = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count."""
        self._examples = 0

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the examples of a batch."""
        self._examples += count_examples(batch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        examples = trainer.strategy.reduce(torch.tensor(self._examples, device=pl_module.device), reduce_op="sum")
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        content: dict[str, Any] = {
            name: _finite(float(value))
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith("test/")
        }
        if isinstance(pl_module, GeneratesText) and pl_module.signature is not None:
            content["signature"] = pl_module.signature
        content["checkpoint"] = _relative(trainer.ckpt_path, folder)
        content["examples"] = int(examples)
        write_text(folder / "test_metrics.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _relative(checkpoint: str | os.PathLike[str] | None, folder: Path) -> str | None:
    if checkpoint is None:
        return None
    absolute = Path(checkpoint).resolve()
    inside = absolute.is_relative_to(folder.resolve())
    return absolute.relative_to(folder.resolve()).as_posix() if inside else str(checkpoint)
