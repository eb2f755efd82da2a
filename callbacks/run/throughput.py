"""throughput.csv: how fast each epoch trained."""

import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.pace import Clock
from callbacks.run.throughput_file import Row, read_throughput
from callbacks.throttle import Throttle
from utils.batches import count_examples
from utils.contracts import HasUnit
from utils.files import write_lines


class Throughput(Callback):
    """Time and examples of each epoch of a fit, in `throughput.csv` in the run folder.

    Its columns are `epoch` (from 1), `seconds` (training alone, without validation) and the number of examples, under
    the name that the module has for them, such as `images`. `metrics.csv` has none of it, so that two of them can be
    compared bit for bit. A resumed run continues the file; of an epoch that it resumes within, it counts the rest.

    Args:
        every_n_seconds: Minimum time between two writes, in seconds; all epochs are written when the fit ends.
    """

    clock: Clock = staticmethod(time.monotonic)

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._rows: list[Row] = []
        self._examples = 0
        self._started = self._paused = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the epochs before the one that a resumed run continues with; forget those of another run."""
        path = Path(trainer.default_root_dir) / "throughput.csv"
        before = read_throughput(path)[1] if trainer.ckpt_path is not None else []
        self._rows = [row for row in before if row[0] <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started, self._examples = self.clock(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Count the examples of a batch."""
        self._examples += count_examples(batch) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._paused = self.clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        self._started += self.clock() - self._paused

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add an epoch, and write the file if it is due."""
        if self._examples:
            self._rows.append((trainer.current_epoch + 1, self.clock() - self._started, self._examples))
        if self._throttle.due():
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write all epochs."""
        self._write(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the epochs that an interrupted fit has finished."""
        if trainer.state.fn == "fit":
            self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir)
        if not self._rows or not trainer.is_global_zero or not folder.is_dir():
            return
        unit = pl_module.unit if isinstance(pl_module, HasUnit) else "examples"
        rows = [f"{epoch},{seconds:.3f},{examples}" for epoch, seconds, examples in self._rows]
        write_lines(folder / "throughput.csv", [f"epoch,seconds,{unit}", *rows])
