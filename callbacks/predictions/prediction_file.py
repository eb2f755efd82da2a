"""What the files that `predict` writes have in common."""

import os
from pathlib import Path
from typing import Any, Generic

from lightning.pytorch import Callback, LightningModule, Trainer

from utils.distributed import Row, gather_rows


class PredictionFile(Callback, Generic[Row]):
    """Collects a row for each example and writes the rows of all processes into one file when predicting ends.

    Args:
        output: The file to write; `file_name` in the run folder when None.
    """

    file_name: str

    def __init__(self, output: str | os.PathLike[str] | None = None) -> None:
        self.output = output
        self._rows: dict[int, Row] = {}

    def rows_of(self, outputs: Any) -> dict[int, Row]:
        """One step's rows by their place in the data; none of outputs of another kind."""
        raise NotImplementedError

    def write(self, path: Path, rows: dict[int, Row], trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file, where there is anything to write; called on the first process alone."""
        raise NotImplementedError

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
        self._rows.update(self.rows_of(outputs))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Not `on_predict_end`: a process without a batch never comes to it, and the others would wait for it for ever
        if stage != "predict":
            return
        rows = gather_rows(self._rows)
        self._rows = {}
        if trainer.is_global_zero:
            path = Path(self.output) if self.output else Path(trainer.default_root_dir) / self.file_name
            self.write(path, rows, trainer, pl_module)
