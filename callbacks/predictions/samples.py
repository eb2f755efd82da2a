"""samples.md: what the model wrote for the same few examples, validation after validation."""

import re
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.text_lines import shorten, visible
from utils.batches import GeneratedText
from utils.contracts import GeneratesText
from utils.files import write_text

MOST_CHARACTERS = 400  # of one text
COLUMNS = ["source", "reference", "output"]
TITLE = "# Samples\n\nWhat the model wrote for the first examples of the validation data, newest first."
HEADING = re.compile(r"^## Epoch \d+, step (\d+)$", re.MULTILINE)


class Samples(Callback):
    """Writes a table of source, reference and output into `samples.md` at each validation of a fit, newest on top.

    A resumed run goes on with the file it finds, without what was written after the point that it resumes from. W&B
    and TensorBoard get the newest table as text, where they are among the loggers.

    The module must have `generated`, what the validation just done wrote, in the data's order; each element has
    `source`, `references` and `hypothesis`. Without one, or with an empty one, nothing is written.

    Args:
        count: Examples in each table.
    """

    def __init__(self, count: int = 5) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        self.count = count
        self._sections: dict[int, str] = {}  # by optimizer steps done

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            before = read_sections(_path(trainer)) if trainer.ckpt_path is not None else {}
            self._sections = {step: section for step, section in before.items() if step <= trainer.global_step}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, GeneratesText) or not pl_module.generated:
            return
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        rows = [_cells(text) for text in pl_module.generated[: self.count]]
        heading = f"## Epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        self._sections[trainer.global_step] = f"{heading}\n\n{_table(rows)}"
        newest_first = [section for _, section in sorted(self._sections.items(), reverse=True)]
        write_text(_path(trainer), "\n\n".join([TITLE, *newest_first]) + "\n")
        _show(trainer, rows)


def read_sections(path: Path) -> dict[int, str]:
    """The sections of a `samples.md`, heading included, by the step in the heading; none where there is no file."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return {int(heading[1]): text[heading.start() : end].rstrip() for heading, end in zip(headings, ends, strict=True)}


def _path(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "samples.md"


def _cells(text: GeneratedText) -> list[list[str]]:
    """The texts of each column of one example's row."""
    return [[text.source], list(text.references), [text.hypothesis]]


def _table(rows: list[list[list[str]]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [["<br>".join(map(_markdown, texts)) for texts in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _markdown(text: str) -> str:
    """`text` as it is for a reader of Markdown, in one cell of a table: no markup, no HTML, no end of the cell."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", visible(shorten(text, MOST_CHARACTERS)))


def _show(trainer: Trainer, rows: list[list[list[str]]]) -> None:
    """Give the newest table to the loggers that show text, at the step at which Lightning logs this validation."""
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    for logger in trainer.loggers:
        if hasattr(logger, "log_text"):  # W&B
            plain = [["\n".join(shorten(text, MOST_CHARACTERS) for text in texts) for texts in row] for row in rows]
            logger.log_text("samples", columns=COLUMNS, data=plain, step=step)
        elif hasattr(experiment := getattr(logger, "experiment", None), "add_text"):  # TensorBoard
            experiment.add_text("samples", _table(rows), step)  # type: ignore[union-attr]
