"""predictions.txt: the text generated for each line of a text file, in the same order."""

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from callbacks.predictions.prediction_file import PredictionFile
from callbacks.text_lines import one_line
from utils.batches import is_hypotheses
from utils.contracts import PredictsLines, datamodule_of
from utils.files import write_lines


class TextPredictions(PredictionFile[str]):
    """Text file with the text generated for each line of the file that `predict` reads, of all processes.

    Prediction steps must return `utils.batches.Hypotheses`; other outputs are skipped. A line that no step was given,
    such as an empty one, stays empty: the datamodule's `predict_count` says how many lines there are. Line breaks in a
    hypothesis become spaces.

    Args:
        output: The file to write; if null, `predictions.txt` in the run folder.
    """

    file_name = "predictions.txt"

    def rows_of(self, outputs: object) -> dict[int, str]:
        """Return the hypotheses, each as one line."""
        if not is_hypotheses(outputs):
            return {}
        return dict(zip(outputs["index"].tolist(), map(one_line, outputs["hypotheses"]), strict=True))

    def write(self, path: Path, rows: Mapping[int, str], trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the lines, unless there is no row and no text file that was read."""
        datamodule = datamodule_of(trainer)
        count = datamodule.predict_count if isinstance(datamodule, PredictsLines) else None
        if rows or count is not None:
            lines = range(max(rows) + 1 if count is None else count)
            write_lines(path, (rows.get(line, "") for line in lines))
