"""checkpoints/best.ckpt: the weights that did best on the validation data."""

import difflib
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from utils.contracts import NamesValidationMetrics


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, keeping one file, `checkpoints/best.ckpt` in the run folder.

    A run without validation data has nothing to choose by and gets no `best.ckpt`; `last.ckpt` is then the one to use.

    Args:
        monitor: The logged metric to choose by.
        mode: Whether the best value is the largest (`max`) or the smallest (`min`).
    """

    def __init__(self, monitor: str = "val/accuracy", mode: Literal["min", "max"] = "max"):
        super().__init__(
            monitor=monitor, mode=mode, filename="best", enable_version_counter=False, save_on_train_epoch_end=False
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a metric that the model never logs, where the model says which it logs (`validation_metrics`).

        Lightning alone would notice after the first epoch.
        """
        if not isinstance(pl_module, NamesValidationMetrics) or not trainer.enable_validation:
            return
        names = pl_module.validation_metrics()
        if self.monitor in names:
            return
        nearest = difflib.get_close_matches(str(self.monitor), names, 1, 0.0)
        raise ValueError(
            f"checkpoint.monitor is {self.monitor}, which {type(pl_module).__name__} does not log in validation; "
            f"did you mean {' or '.join(nearest)}? It logs {', '.join(names)}"
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up which weights were best, also where the run folder has moved or is named in another way.

        A run that goes on in another folder, without the old one's `best.ckpt`, chooses anew.
        """
        folder = Path(str(self.dirpath))
        if not (folder / Path(state_dict["best_model_path"]).name).is_file():
            return

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict.get(name, "")) for name in paths}
        models = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **moved, "dirpath": self.dirpath, "best_k_models": models})
