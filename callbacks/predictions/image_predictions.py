"""predictions.csv: the predicted class of each image, in the order of the data."""

import csv
import os
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.predictions.prediction_file import PredictionFile
from callbacks.text_lines import class_name
from utils.batches import is_classified
from utils.contracts import PredictsImages, ProvidesImages, class_names_of, datamodule_of
from utils.distributed import gather_parts
from utils.files import atomic_path

ImageRow = tuple[int, list[float]]
"""Label (-1 if unknown) and probability of each class."""


class Predictions(PredictionFile[ImageRow]):
    r"""CSV file with an image classifier's predictions from all processes.

    Columns: `path` (`index` if the datamodule has no `predict_path`), `label` (left out if no label is known),
    `predicted`, and a probability `p_<class>` per class. If files cannot be read, a last column `error` says why; their
    rows have only the path and the error. In names, bytes that are not UTF-8 are escapes such as `\xe9`. Prediction
    steps must return `utils.batches.Classified` with `index`; other outputs are skipped.

    Args:
        output: The file to write; if null, `predictions.csv` in the run folder.
    """

    file_name = "predictions.csv"

    def __init__(self, output: str | os.PathLike[str] | None = None) -> None:
        super().__init__(output)
        self._errors: dict[int, str] = {}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learn from all processes what could not be read, and write the file."""
        if stage == "predict":
            datamodule = datamodule_of(trainer)
            mine: dict[int, str] = datamodule.predict_errors if isinstance(datamodule, PredictsImages) else {}
            self._errors = dict(ChainMap(*gather_parts(mine, everywhere=False)))
        super().teardown(trainer, pl_module, stage)

    def rows_of(self, outputs: object) -> dict[int, ImageRow]:
        """Return the label and the probabilities of each image."""
        if not is_classified(outputs) or "index" not in outputs:
            return {}
        rows = zip(outputs["labels"].tolist(), outputs["probabilities"].float().tolist(), strict=True)
        return dict(zip(outputs["index"].tolist(), rows, strict=True))

    def write(self, path: Path, rows: Mapping[int, ImageRow], trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the CSV file, unless there is no row."""
        if not rows:
            return
        datamodule = datamodule_of(trainer)
        predicted = datamodule if isinstance(datamodule, PredictsImages) else None
        names = predicted.predict_names if predicted else None
        classes = class_names_of(pl_module)
        # Labels belong to the data: a folder other than the training data may have other classes, or another order
        label_names = predicted.predict_classes if predicted else None
        label_names = label_names or (datamodule.class_names if isinstance(datamodule, ProvidesImages) else None)
        label_names = label_names or classes
        errors = self._errors
        if predicted and errors:
            _warn_of_unreadable(errors, predicted.predict_names)
        labelled = any(label >= 0 for label, _ in rows.values())
        number = len(next(iter(rows.values()))[1])

        header = ["path" if predicted and predicted.predict_path else "index"]
        header += ["label"] if labelled else []
        header += ["predicted", *(f"p_{class_name(classes, index)}" for index in range(number))]
        header += ["error"] if errors else []
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for index in sorted({*rows, *errors}):
                cells = [class_name(names, index)]
                if index in errors:
                    writer.writerow(cells + [""] * (len(header) - 2) + [errors[index]])
                    continue
                label, probabilities = rows[index]
                if labelled:
                    cells.append(class_name(label_names, label) if label >= 0 else "")
                best = max(range(number), key=probabilities.__getitem__)
                cells += [class_name(classes, best), *(f"{p:.9g}" for p in probabilities)]
                writer.writerow(cells + [""] * (len(header) - len(cells)))


def _warn_of_unreadable(errors: Mapping[int, str], names: Sequence[str], shown: int = 10) -> None:
    broken = [class_name(names, index) for index in sorted(errors)]
    rank_zero_warn(
        f"{len(broken):,} of {len(names):,} images cannot be read and have no prediction; the column `error` of the "
        f"predictions says why: {', '.join(broken[:shown])}{', ...' if len(broken) > shown else ''}"
    )
