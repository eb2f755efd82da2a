"""test_metrics.json: the metrics of a test and what they were measured on, for programs to read."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from callbacks.run.test_section import SETTINGS_FROM, write_test_section
from utils.batch_limits import active_limits
from utils.batches import count_examples
from utils.contracts import DescribesTestData, GeneratesText, HasTestSettings, datamodule_of
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
"""Names and formats of the metrics shown in the terminal; the file has all metrics."""


def headline(metrics: Mapping[str, Tensor | float], stage: str = "test") -> str:
    """Return the main metrics of an evaluation in one line, such as `test BLEU 31.25, chrF 55.02`; empty without any.

    Args:
        metrics: All metrics by name, such as a Trainer's `callback_metrics`.
        stage: What their names begin with, `test` or `val`.
    """
    parts = []
    for name, (words, form) in HEADLINE.items():
        if f"{stage}/{name}" in metrics:
            part = f"{words} {float(metrics[f'{stage}/{name}']):{form}}"
            augmented = metrics.get(f"{stage}/{name}_tta")
            with_tta = "" if augmented is None else f" ({float(augmented):{form}} with test-time augmentation)"
            parts.append(part + with_tta)
    return f"{stage} {', '.join(parts)}" if parts else ""


class TestMetrics(Callback):
    """Record of a test: `test_metrics.json` in the run folder, and a section of its `summary.md`.

    The file is flat: every logged `test/...` value unrounded (null if it is not finite, such as the accuracy of a class
    without images), and what was measured:

    - `signature`: how text scores were computed, if the module has one
    - `checkpoint` (relative to the run folder if inside it; null without one) and `checkpoint_step`, the number of
      optimizer steps that it was trained for
    - `data` and `data_digest`: where the test examples come from, and the SHA-256 of all of them as they were read
    - `examples`: the number of tested examples over all processes; `data_examples`: that of the data, if the test left
      out some
    - the settings: `precision`, those of the module (such as `num_beams`), and `limit_test_batches` if it is set

    It has no time or date, so that testing again writes the same bytes.
    """

    __test__ = False  # for pytest: not a test, though its name begins with "Test"

    def __init__(self) -> None:
        self._examples = 0
        self._checkpoint_step: int | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the number of optimizer steps that the weights were trained for."""
        self._checkpoint_step = checkpoint.get("global_step")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
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
        """Write file and section."""
        examples = trainer.strategy.reduce(torch.tensor(self._examples, device=pl_module.device), reduce_op="sum")
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        record = self._record(trainer, pl_module, int(examples), folder)
        write_text(folder / "test_metrics.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        write_test_section(folder, record)
        if "data_examples" in record:
            rank_zero_warn(f"tested on only {record['examples']:,} of {record['data_examples']:,} examples")

    def _record(self, trainer: Trainer, pl_module: LightningModule, examples: int, folder: Path) -> dict[str, Any]:
        metrics = sorted(trainer.callback_metrics.items())
        record: dict[str, Any] = {name: _finite(float(value)) for name, value in metrics if name.startswith("test/")}
        if isinstance(pl_module, GeneratesText) and pl_module.signature is not None:
            record["signature"] = pl_module.signature
        record["checkpoint"] = _relative(trainer.ckpt_path, folder)
        if trainer.ckpt_path is not None and self._checkpoint_step is not None:
            record["checkpoint_step"] = self._checkpoint_step
        datamodule = datamodule_of(trainer)
        source = datamodule.test_source() if isinstance(datamodule, DescribesTestData) else None
        if source is not None:
            record |= {"data": source.path, "data_digest": source.digest}
        record["examples"] = examples
        if source is not None and source.examples not in (None, examples):
            record["data_examples"] = source.examples
        record[SETTINGS_FROM] = str(trainer.precision)
        if isinstance(pl_module, HasTestSettings):
            record |= pl_module.test_settings()
        if active_limits(trainer, ["test"]):
            record["limit_test_batches"] = trainer.limit_test_batches
        return record


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _relative(checkpoint: str | os.PathLike[str] | None, folder: Path) -> str | None:
    if checkpoint is None:
        return None
    absolute = Path(checkpoint).resolve()
    inside = absolute.is_relative_to(folder.resolve())
    return absolute.relative_to(folder.resolve()).as_posix() if inside else str(checkpoint)
