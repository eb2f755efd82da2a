"""samples.md: the text generated for the same few examples at each validation."""

import re
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from callbacks.run.saved_position import is_validation_early
from callbacks.text_lines import markdown_table, shorten, visible
from utils.batches import GeneratedText
from utils.checks import check_positive_int
from utils.contracts import GeneratesText
from utils.files import write_text

MAX_LENGTH = 400
"""Maximum length of one text, in characters."""

COLUMNS = ["source", "reference", "output"]
TITLE = "# Samples\n\nText generated for the first validation examples at each validation, newest first."
HEADING = re.compile(r"^## Epoch \d+, step (\d+)$", re.MULTILINE)

Cells = list[list[str]]
"""The texts of each column in one row."""


class Samples(Callback):
    """Tables of source, reference and output in `samples.md`, one per validation of a fit, newest first.

    A resumed run continues the file, without what was written after the point that it resumes from. A validation that
    runs only because `max_time` ends the run has no table: the resumed run would not have it. The loggers of W&B and
    TensorBoard get the newest table as text.

    The module must implement `utils.contracts.GeneratesText`; without generated text, nothing is written.

    Args:
        count: Number of examples in each table.
    """

    def __init__(self, count: int = 5) -> None:
        self.count = check_positive_int("count", count)
        self._sections: dict[int, str] = {}  # by optimizer steps done

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the tables of a resumed run; forget those of another."""
        if trainer.is_global_zero:
            before = read_sections(_path(trainer)) if trainer.ckpt_path is not None else {}
            self._sections = {step: section for step, section in before.items() if step <= trainer.global_step}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a table, and write the file."""
        if not isinstance(pl_module, GeneratesText) or not pl_module.generated:
            return
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        if is_validation_early(trainer):
            return
        rows = [_cells(text) for text in pl_module.generated[: self.count]]
        heading = f"## Epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        self._sections[trainer.global_step] = f"{heading}\n\n{_table(rows)}"
        newest_first = [section for _, section in sorted(self._sections.items(), reverse=True)]
        write_text(_path(trainer), "\n\n".join([TITLE, *newest_first]) + "\n", parents=False)
        _log(trainer, rows)


def read_sections(path: Path) -> dict[int, str]:
    """Return the sections of a `samples.md`, with their headings, by the step in the heading; none without a file."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return {int(heading[1]): text[heading.start() : end].rstrip() for heading, end in zip(headings, ends, strict=True)}


def _path(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "samples.md"


def _cells(text: GeneratedText) -> Cells:
    return [[text.source], list(text.references), [text.hypothesis]]


def _table(rows: list[Cells]) -> str:
    return markdown_table(COLUMNS, [["<br>".join(map(_escape, texts)) for texts in row] for row in rows])


def _escape(text: str) -> str:
    """Return Markdown that shows `text` as it is, in one cell of a table: no markup, no HTML, no end of the cell."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", visible(shorten(text, MAX_LENGTH)))


def _log(trainer: Trainer, rows: list[Cells]) -> None:
    """Log a table to the loggers that show text, at the step at which Lightning logs this validation."""
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            plain = [["\n".join(shorten(text, MAX_LENGTH) for text in texts) for texts in row] for row in rows]
            logger.log_text("samples", columns=COLUMNS, data=plain, step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("samples", _table(rows), step)
