"""predictions.txt or predictions.jsonl: the text generated for each line of a text file, in the same order."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from callbacks.predictions.prediction_file import PredictionFile
from callbacks.text_lines import one_line
from utils.batches import is_hypotheses
from utils.contracts import GeneratesSeveral, PredictsLines, datamodule_of
from utils.files import write_lines

Texts = Sequence[tuple[str, float | None]]
"""Texts that were generated for one source, best first, with their scores; None where there is none."""

TextRow = tuple[str | None, Texts]
"""A source, None if it is unknown, and what was generated for it."""

JSON_LINES = ".jsonl"


class TextPredictions(PredictionFile[TextRow]):
    """Text file with the text generated for each line of the file that `predict` reads, from all processes.

    Prediction steps must return `utils.batches.Hypotheses`; other outputs are skipped. A line that is passed to no
    step, such as an empty one, stays empty: the datamodule's `predict_count` says how many lines there are. Line breaks
    in a hypothesis become spaces.

    A file whose name ends in .jsonl has an object per line instead, with `index`, `source`, and `hypotheses`: each
    generated text, unchanged, with its score. It is the default if the module generates several texts per source.

    Args:
        output: The file to write; if null, `predictions.txt` or `predictions.jsonl` in the run folder.
    """

    file_name = "predictions.txt"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the rows of an earlier stage.

        Raises:
            ValueError: Several texts per source are requested, but the file has one per line.
        """
        super().setup(trainer, pl_module, stage)
        if stage == "predict" and self.output and _several(pl_module) and Path(self.output).suffix != JSON_LINES:
            raise ValueError(
                f"model.num_return_sequences is above 1, but {self.output} would have one text per line: pass --output "
                f"{Path(self.output).with_suffix(JSON_LINES)}"
            )

    def default_path(self, trainer: Trainer) -> Path:
        """Return the default output file, in the run folder."""
        path = super().default_path(trainer)
        return path.with_suffix(JSON_LINES) if _several(trainer.lightning_module) else path

    def rows_of(self, outputs: object) -> dict[int, TextRow]:
        """Return the source and the hypotheses of each example."""
        if not is_hypotheses(outputs):
            return {}
        found: Sequence[Texts] = outputs.get("n_best") or [[(text, None)] for text in outputs["hypotheses"]]
        sources: Sequence[str | None] = outputs.get("sources") or [None] * len(found)
        return dict(zip(outputs["index"].tolist(), zip(sources, found, strict=True), strict=True))

    def write(self, path: Path, rows: Mapping[int, TextRow], trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the lines, unless there are no rows and no text file was read."""
        datamodule = datamodule_of(trainer)
        count = datamodule.predict_count if isinstance(datamodule, PredictsLines) else None
        if rows or count is not None:
            line_of = json_line if path.suffix == JSON_LINES else _plain_line
            lines = range(max(rows) + 1 if count is None else count)
            write_lines(path, (line_of(line, *rows.get(line, ("", []))) for line in lines))


def json_line(index: int, source: str | None, texts: Texts) -> str:
    """Return what was generated for a source as a JSON object on one line; a score is null if it is not finite."""
    hypotheses = [
        {"text": text, "score": score if score is not None and math.isfinite(score) else None} for text, score in texts
    ]
    return json.dumps({"index": index, "source": source, "hypotheses": hypotheses}, ensure_ascii=False)


def _plain_line(index: int, source: str | None, texts: Texts) -> str:
    return one_line(texts[0][0]) if texts else ""


def _several(module: LightningModule) -> bool:
    return isinstance(module, GeneratesSeveral) and module.num_return_sequences > 1
