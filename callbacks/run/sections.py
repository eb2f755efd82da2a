"""Parts of a config whose class it does not name."""

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
"""The class of each."""
