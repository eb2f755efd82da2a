"""predictions.txt: what the model writes for each line of a text file, in the same order."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.gather import gather_rows
from callbacks.text_lines import one_line, write_lines


class TextPredictions(Callback):
    """Writes a line for each line of the file that `predict` reads, all processes' together.

    Predict steps must return `hypotheses` (a list of texts) and `index` [B], each one's line from 0; other outputs are
    passed over. A line that no step was given, such as an empty one, stays an empty line: the datamodule's
    `predict_count` says how many there are. Line breaks inside a hypothesis become spaces.

    Args:
        output: The file to write; `predictions.txt` in the run folder when None.
    """

    def __init__(self, output: str | os.PathLike[str] | None = None) -> None:
        self.output = output
        self._rows: dict[int, str] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._rows = {}

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if isinstance(outputs, Mapping) and "hypotheses" in outputs and "index" in outputs:
            texts = map(one_line, outputs["hypotheses"])
            self._rows.update(zip(outputs["index"].tolist(), texts, strict=True))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Not `on_predict_end`, which a process without a batch never comes to: a file of nothing but empty lines
        if stage != "predict":
            return
        rows = gather_rows(self._rows, trainer)
        self._rows = {}
        count: int | None = getattr(getattr(trainer, "datamodule", None), "predict_count", None)
        if trainer.is_global_zero and (rows or count is not None):
            lines = range(max(rows) + 1 if count is None else count)
            write_lines(
                self.output or Path(trainer.default_root_dir) / "predictions.txt",
                (rows.get(line, "") for line in lines),
            )
