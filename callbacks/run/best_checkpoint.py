"""checkpoints/best.ckpt: the weights with the best validation metric."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from callbacks.run import saved_position
from utils.contracts import NamesValidationMetrics

_MEMORY = (
    "best_model_score",
    "best_model_path",
    "best_k_models",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
    "current_score",
    "_last_global_step_saved",
    "_last_checkpoint_saved",
)
"""Attributes in which Lightning's `ModelCheckpoint` keeps what it has saved."""


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` with a single file, `checkpoints/best.ckpt` in the run folder.

    A run without validation data has no metric to choose by and gets no `best.ckpt`; use `last.ckpt` then.

    Args:
        monitor: The logged metric to choose by.
        mode: Whether the best value is the maximum (`max`) or the minimum (`min`).
    """

    def __init__(self, monitor: str = "val/accuracy", mode: Literal["min", "max"] = "max"):
        super().__init__(
            monitor=monitor, mode=mode, filename="best", enable_version_counter=False, save_on_train_epoch_end=False
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save into the run folder."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the model logs the metric, if it says which ones it logs (`NamesValidationMetrics`).

        Lightning itself would notice only after the first epoch.

        Raises:
            ValueError: The model does not log the metric in validation.
        """
        if not isinstance(pl_module, NamesValidationMetrics) or not trainer.enable_validation:
            return
        check_monitor("checkpoint", str(self.monitor), pl_module.validation_metrics(), pl_module)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether to save: never if the metric is not finite, which Lightning would accept as the first one."""
        if current is not None and not trainer.strategy.reduce_boolean_decision(bool(current.isfinite())):
            rank_zero_warn(
                f"{self.monitor} is {float(current):g} after epoch {trainer.current_epoch + 1}: not saved as best.ckpt"
            )
            return False
        return super().check_monitor_top_k(trainer, current)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if the metric is the best so far.

        A validation that runs only because `max_time` ends the run within an epoch does not replace an earlier best,
        and is forgotten: the run may resume, and without the interruption it would not have had it.
        """
        early = saved_position.is_validation_early(trainer)
        if early and self.best_model_path:
            return
        before = {name: getattr(self, name) for name in _MEMORY}
        before["best_k_models"] = dict(self.best_k_models)
        super().on_validation_end(trainer, pl_module)
        if early:
            vars(self).update(before)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore which weights were best, even if the run folder was moved or is named by another path.

        A run that continues in another folder, without the old folder's `best.ckpt`, chooses again.
        """
        best = Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}"
        if not state_dict["best_model_path"] or not best.is_file():
            return

        def here(path: str) -> str:  # never the path itself: Lightning deletes what another checkpoint replaces
            return str(best) if path else ""

        moved = {name: here(state_dict.get(name, "")) for name in ("best_model_path", "kth_best_model_path")}
        models = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict(
            {**state_dict, **moved, "last_model_path": "", "dirpath": self.dirpath, "best_k_models": models}
        )


def check_monitor(owner: str, monitor: str, names: Sequence[str], pl_module: LightningModule) -> None:
    """Raise ValueError, with the nearest name and all others, unless `monitor` is one of the metrics in `names`.

    Args:
        owner: Name of what has the field `monitor`.
        monitor: The metric.
        names: What the model logs.
        pl_module: The model.
    """
    if monitor not in names:
        nearest = difflib.get_close_matches(monitor, names, 1, 0.0)
        raise ValueError(
            f"{owner}.monitor is {monitor}, which {type(pl_module).__name__} does not log; "
            f"did you mean {' or '.join(nearest)}? It logs {', '.join(names)}"
        )
