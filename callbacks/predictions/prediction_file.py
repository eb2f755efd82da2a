"""Base class of the files that `predict` writes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Generic

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.predictions.row_files import Row, RowFiles, RowWriter
from utils.distributed import gather_parts


class PredictionFile(Callback, Generic[Row]):
    """Base class of callbacks that write a row per predicted example into one file, in the order of the data.

    Each process writes its rows into a temporary file in the run folder, so that memory does not limit their number;
    at the end the first process merges these files. There is no output before that, nor if a process fails.

    Args:
        output: The file to write; if null, `file_name` in the run folder.
    """

    file_name: str

    def __init__(self, output: str | os.PathLike[str] | None = None) -> None:
        self.output = output
        self._writer: RowWriter | None = None

    def rows_of(self, outputs: object) -> dict[int, Row]:
        """Return the rows of one step by their place in the data, as JSON values; empty for other outputs."""
        raise NotImplementedError

    def write(self, path: Path, rows: Mapping[int, Row], trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file if there is anything to write; called on the first process."""
        raise NotImplementedError

    def default_path(self, trainer: Trainer) -> Path:
        """Return the default output file, in the run folder."""
        return Path(trainer.default_root_dir) / self.file_name

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the rows of an earlier stage."""
        self._discard()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of a batch into this process's temporary file."""
        if rows := self.rows_of(outputs):
            self._writer = self._writer or RowWriter(self.default_path(trainer))
            self._writer.add(rows)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Merge the rows of all processes into the file.

        Not in `on_predict_end`, which a process without a batch never reaches: the others would wait for it forever.
        """
        if stage != "predict":
            return
        if self._writer is not None:
            self._writer.close()
        paths = gather_parts(None if self._writer is None else self._writer.path, everywhere=False)
        self._writer = None
        if trainer.is_global_zero:
            path = Path(os.path.realpath(self.output)) if self.output else self.default_path(trainer)
            with RowFiles[Row]([each for each in paths if each is not None]) as rows:
                self.write(path, rows, trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the temporary file."""
        self._discard()

    def _discard(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.discard()
