"""Classes of the config sections that do not name one, such as `trainer`."""

from lightning.pytorch import Trainer

from callbacks.non_finite import NonFinite
from callbacks.plots.curves import Curves
from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.resume_checkpoint import ResumeCheckpoint

SECTIONS: dict[str, type] = {
    "trainer": Trainer,
    "checkpoint": BestCheckpoint,
    "resume_checkpoint": ResumeCheckpoint,
    "non_finite": NonFinite,
    "curves": Curves,
}
"""The class of each section."""
