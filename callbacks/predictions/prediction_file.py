"""Base class of the files that `predict` writes."""

import os
from pathlib import Path
from typing import Generic

from lightning.pytorch import Callback, LightningModule, Trainer

from utils.distributed import Row, gather_rows


class PredictionFile(Callback, Generic[Row]):
    """Base class of callbacks that collect a row per predicted example and write those of all processes into one file.

    Args:
        output: The file to write; if null, `file_name` in the run folder.
    """

    file_name: str

    def __init__(self, output: str | os.PathLike[str] | None = None) -> None:
        self.output = output
        self._rows: dict[int, Row] = {}

    def rows_of(self, outputs: object) -> dict[int, Row]:
        """Return the rows of one step by their place in the data; none for outputs of another kind."""
        raise NotImplementedError

    def write(self, path: Path, rows: dict[int, Row], trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file if there is anything to write; called on the first process."""
        raise NotImplementedError

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the rows of an earlier stage."""
        self._rows = {}

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the rows of a batch."""
        self._rows.update(self.rows_of(outputs))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gather and write the rows.

        Not in `on_predict_end`, which a process without a batch never reaches: the others would wait for it forever.
        """
        if stage != "predict":
            return
        rows = gather_rows(self._rows)
        self._rows = {}
        if trainer.is_global_zero:
            path = (
                Path(os.path.realpath(self.output)) if self.output else Path(trainer.default_root_dir) / self.file_name
            )
            self.write(path, rows, trainer, pl_module)
