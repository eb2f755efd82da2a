"""Additions to Lightning's `TensorBoardLogger`: resumed runs and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.run.metrics_csv import Row
from callbacks.trackers.images import pixels

FOLDER = "tensorboard"
"""Name of the folder in the run folder that holds the event files."""


def start_again(logger: TensorBoardLogger, rows: Sequence[Row], before: int) -> None:
    """Have TensorBoard forget what was logged after the checkpoint that a run resumes from.

    Args:
        logger: The logger.
        rows: Those of `metrics.csv` at the checkpoint.
        before: The first step that the checkpoint does not cover, except for what is in the last row.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]

    # As torch's SummaryWriter does it for its `purge_step`, but now that the step is known
    logger.experiment._get_file_writer().add_event(Event(step=before, session_log=SessionLog(status=SessionLog.START)))
    for row in rows:
        step = int(row["step"] or 0)
        if step >= before:
            logger.log_metrics({key: value for key, value in row.items() if value is not None and key != "step"}, step)


def log_images(logger: TensorBoardLogger, images: Mapping[str, Path], step: int) -> None:
    """Log plots by name."""
    for name, path in images.items():
        logger.experiment.add_image(name, pixels(path), step, dataformats="HWC")
