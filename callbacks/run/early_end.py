"""Early stopping across restarts: a run that a callback has ended stays ended when it is started again."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_info

from callbacks.run.saved_position import is_out_of_time

ENDED_KEY = "ended_early"
"""Key of a checkpoint whose run a callback, such as EarlyStopping, has ended."""


class EarlyEnd(Callback):
    """Callback that keeps a run ended once another, such as Lightning's EarlyStopping, has ended it.

    Lightning restores what EarlyStopping has counted, but not that it has stopped training: each time the same command
    is repeated, the run would train for one more epoch. A run stopped by `max_time` does continue. Lightning also
    restores the patience of EarlyStopping; here it is the config's.

    Args:
        changed: Whether the callbacks of the config differ from the checkpoint's: with more patience, a run continues.
    """

    def __init__(self, changed: bool) -> None:
        self.changed = changed

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record in the checkpoint that training has ended."""
        if trainer.should_stop and not is_out_of_time(trainer):
            checkpoint[ENDED_KEY] = True

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """End training before it begins if it had already ended; set the patience of the config."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and (saved := checkpoint["callbacks"].get(callback.state_key)):
                saved["patience"] = callback.patience  # Lightning has yet to restore it
        if trainer.state.fn == "fit" and checkpoint.get(ENDED_KEY) and not self.changed:
            trainer.should_stop = True
            rank_zero_info("training had ended early; to continue it, change what ended it, such as EarlyStopping")
