"""predictions.csv: what the model says of each image, in the order of the data."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from callbacks.predictions.prediction_file import PredictionFile
from callbacks.text_lines import class_name
from utils.batches import is_classified
from utils.contracts import ProvidesImages, class_names_of, datamodule_of
from utils.files import atomic_path

ImageRow = tuple[int, list[float]]  # label (-1: unknown), probability of each class


class Predictions(PredictionFile[ImageRow]):
    """Writes a CSV of an image classifier's predictions when predicting ends, all processes' rows together.

    Columns: `path` (`index` where the datamodule has no `predict_path`), `label` (left out where no label is known),
    `predicted`, and a probability `p_<class>` for each class. Predict steps must return `probabilities` [B, C],
    `labels` [B] (-1: unknown) and `index` [B], the place in the data set; other outputs are passed over.

    Args:
        output: The file to write; `predictions.csv` in the run folder when None.
    """

    file_name = "predictions.csv"

    def rows_of(self, outputs: Any) -> dict[int, ImageRow]:
        if not is_classified(outputs) or "index" not in outputs:
            return {}
        rows = zip(outputs["labels"].tolist(), outputs["probabilities"].float().tolist(), strict=True)
        return dict(zip(outputs["index"].tolist(), rows, strict=True))

    def write(self, path: Path, rows: dict[int, ImageRow], trainer: Trainer, pl_module: LightningModule) -> None:
        if not rows:
            return
        datamodule = datamodule_of(trainer)
        data = datamodule if isinstance(datamodule, ProvidesImages) else None
        names = data.predict_names if data else None
        classes = class_names_of(pl_module)
        # Labels are the data's: another folder than the one trained on may have other classes, or another order
        label_names = (data.predict_classes or data.class_names if data else None) or classes
        labelled = any(label >= 0 for label, _ in rows.values())
        number = len(next(iter(rows.values()))[1])

        header = ["path" if data and data.predict_path else "index"]
        header += ["label"] if labelled else []
        header += ["predicted", *(f"p_{class_name(classes, index)}" for index in range(number))]
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for index, (label, probabilities) in sorted(rows.items()):
                cells = [class_name(names, index)]
                if labelled:
                    cells.append(class_name(label_names, label) if label >= 0 else "")
                best = max(range(number), key=probabilities.__getitem__)
                writer.writerow([*cells, class_name(classes, best), *(f"{p:.9g}" for p in probabilities)])
