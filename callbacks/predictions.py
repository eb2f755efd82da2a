"""predictions.csv: what the model says of each image, in the order of the data."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.batches import class_name, classified
from callbacks.files import atomic_path
from callbacks.gather import gather_rows

Row = tuple[int, list[float]]  # label (-1: unknown), probability of each class


class Predictions(Callback):
    """Writes a CSV of an image classifier's predictions when predicting ends, all processes' rows together.

    Columns: `path` (`index` where the datamodule has no `predict_path`), `label` (left out where no label is known),
    `predicted`, and a probability `p_<class>` for each class. Predict steps must return `probabilities` [B, C],
    `labels` [B] (-1: unknown) and `index` [B], the place in the data set; other outputs are passed over.

    Args:
        output: The file to write; `predictions.csv` in the run folder when None.
    """

    def __init__(self, output: str | os.PathLike[str] | None = None) -> None:
        self.output = output
        self._rows: dict[int, Row] = {}

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
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
        found = classified(outputs)
        if found is None or "index" not in outputs:
            return
        probabilities, labels = (part.cpu() for part in found)
        rows = zip(labels.tolist(), probabilities.float().tolist(), strict=True)
        self._rows.update(zip(outputs["index"].tolist(), rows, strict=True))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = gather_rows(self._rows, trainer)
        self._rows = {}
        if rows and trainer.is_global_zero:
            _write(self.output or Path(trainer.default_root_dir) / "predictions.csv", rows, trainer, pl_module)


def _write(output: str | os.PathLike[str], rows: dict[int, Row], trainer: Trainer, pl_module: LightningModule) -> None:
    datamodule = getattr(trainer, "datamodule", None)
    names: list[str] | None = getattr(datamodule, "predict_names", None)
    classes: list[str] | None = getattr(pl_module, "class_names", None)
    # Labels are the data's: another folder than the one trained on may have other classes, or another order
    label_names: list[str] | None = getattr(datamodule, "class_names", None) or classes
    labelled = any(label >= 0 for label, _ in rows.values())
    number = len(next(iter(rows.values()))[1])

    header = ["path" if getattr(datamodule, "predict_path", None) else "index"]
    header += ["label"] if labelled else []
    header += ["predicted", *(f"p_{class_name(classes, index)}" for index in range(number))]
    with atomic_path(output) as path, open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for index, (label, probabilities) in sorted(rows.items()):
            cells = [class_name(names, index)]
            if labelled:
                cells.append(class_name(label_names, label) if label >= 0 else "")
            best = max(range(number), key=probabilities.__getitem__)
            writer.writerow([*cells, class_name(classes, best), *(f"{p:.9g}" for p in probabilities)])
