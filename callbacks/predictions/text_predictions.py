"""predictions.txt: what the model writes for each line of a text file, in the same order."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from callbacks.predictions.prediction_file import PredictionFile
from callbacks.text_lines import one_line
from utils.batches import is_hypotheses
from utils.contracts import PredictsLines, datamodule_of
from utils.files import write_lines


class TextPredictions(PredictionFile[str]):
    """Writes a line for each line of the file that `predict` reads, all processes' together.

    Predict steps must return `hypotheses` (a list of texts) and `index` [B], each one's line from 0; other outputs are
    passed over. A line that no step was given, such as an empty one, stays an empty line: the datamodule's
    `predict_count` says how many there are. Line breaks inside a hypothesis become spaces.

    Args:
        output: The file to write; `predictions.txt` in the run folder when None.
    """

    file_name = "predictions.txt"

    def rows_of(self, outputs: Any) -> dict[int, str]:
        if not is_hypotheses(outputs):
            return {}
        return dict(zip(outputs["index"].tolist(), map(one_line, outputs["hypotheses"]), strict=True))

    def write(self, path: Path, rows: dict[int, str], trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule = datamodule_of(trainer)
        count = datamodule.predict_count if isinstance(datamodule, PredictsLines) else None
        if rows or count is not None:
            lines = range(max(rows) + 1 if count is None else count)
            write_lines(path, (rows.get(line, "") for line in lines))
