"""Learning-rate schedules, counted in optimizer steps.

Each is a `LambdaLR` built as `Schedule(optimizer, total_steps, ...)`: `TrainingModule.configure_optimizers`
(`training_module.py`) fills in the first two, a config the rest. The factor multiplies the learning rate of every
parameter group, so the rates of two groups keep their ratio. `warmup` is a fraction of `total_steps` if it is below 1,
and a number of steps otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from utils.checks import check_at_least, check_fraction
from utils.resume_position import planned_steps


def with_schedule(
    optimizer: Optimizer,
    schedule: Callable[[Optimizer, int], LRScheduler],
    trainer: Trainer,
    checkpoint: dict[str, Any] | None = None,
) -> OptimizerLRSchedulerConfig:
    """Return the result of `configure_optimizers`: the optimizer, and its schedule over all optimizer steps of the run.

    Args:
        optimizer: The optimizer.
        schedule: Builds the schedule from the optimizer and the number of the run's optimizer steps.
        trainer: The trainer of the run.
        checkpoint: The checkpoint that it resumes from, if any: epochs before it may have had other numbers of steps.

    Raises:
        ValueError: The run has no end.
    """
    steps = planned_steps(trainer, checkpoint)
    if steps == float("inf"):
        raise ValueError(
            "a schedule must know the length of the run: set trainer.max_epochs or trainer.max_steps; -1 means no limit"
        )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer, int(steps)), "interval": "step"}}


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Return the number of steps of a warm-up given as a fraction of the run (below 1) or in steps (1 or more).

    Raises:
        ValueError: `warmup` is negative, or as long as the run.
    """
    check_at_least("warmup", warmup)
    steps = round(warmup * total_steps) if warmup < 1 else round(warmup)
    if steps >= total_steps:
        raise ValueError(f"warmup of {steps} steps leaves nothing of a run of {total_steps} steps; lower it")
    return steps


def after_warmup(steps: int, factor: Callable[[int], float]) -> Callable[[int], float]:
    """Return a factor that rises linearly to 1 over `steps` steps and then is `factor(step)`."""
    return lambda step: (step + 1) / steps if step < steps else factor(step)


class Constant(LambdaLR):
    """The same learning rate throughout, after an optional linear warm-up.

    Args:
        optimizer: The optimizer whose learning rates are scaled.
        total_steps: Number of optimizer steps of the run.
        warmup: Length of the linear warm-up, as a fraction of the run (below 1) or in steps (1 or more).
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0):
        super().__init__(optimizer, after_warmup(warmup_steps(warmup, total_steps), lambda step: 1.0))


class WarmupCosine(LambdaLR):
    """Linear warm-up, then half a cosine down to `final_factor` (Loshchilov and Hutter 2017, section 3, no restarts).

    Args:
        optimizer: The optimizer whose learning rates are scaled.
        total_steps: Number of optimizer steps of the run.
        warmup: Length of the linear warm-up, as a fraction of the run (below 1) or in steps (1 or more).
        final_factor: Fraction of the learning rate that is approached at the end of the run.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final_factor: float = 0.0):
        rise = warmup_steps(warmup, total_steps)

        def cosine(step: int) -> float:
            progress = min(1.0, (step - rise) / (total_steps - rise))
            return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))

        super().__init__(optimizer, after_warmup(rise, cosine))


class InverseSqrt(LambdaLR):
    """Linear warm-up, then a decay with the inverse square root of the step (Vaswani et al. 2017, section 5.3).

    The factor is 1 at the end of the warm-up, whatever its length. It depends on the length of the run only if the
    warm-up is a fraction of it, so training can be extended at will.

    Args:
        optimizer: The optimizer whose learning rates are scaled.
        total_steps: Number of optimizer steps of the run.
        warmup: Length of the linear warm-up, as a fraction of the run (below 1) or in steps (1 or more).
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.1):
        rise = max(1, warmup_steps(warmup, total_steps))
        super().__init__(optimizer, after_warmup(rise, lambda step: math.sqrt(rise / (step + 1))))


class OneCycle(LambdaLR):
    """One triangle: linearly up from `initial_factor`, linearly down to `final_factor` (Smith 2018, section 3).

    Args:
        optimizer: The optimizer whose learning rates are scaled.
        total_steps: Number of optimizer steps of the run.
        peak: Position of the peak, as a fraction of the run in [0, 1). 0 is a plain linear decay.
        initial_factor: Fraction of the learning rate at the first step.
        final_factor: Fraction of the learning rate that is approached at the end of the run.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        peak: float = 0.25,
        initial_factor: float = 0.2,
        final_factor: float = 0.0,
    ):
        check_fraction("peak", peak)

        def triangle(step: int) -> float:
            progress = min(1.0, step / total_steps)
            if progress < peak:
                return initial_factor + (1 - initial_factor) * progress / peak
            return 1 + (final_factor - 1) * (progress - peak) / (1 - peak)

        super().__init__(optimizer, triangle)


class MultiStep(LambdaLR):
    """The learning rate multiplied by `gamma` at each milestone (He et al. 2015, section 4.2: at 1/2 and 3/4).

    Args:
        optimizer: The optimizer whose learning rates are scaled.
        total_steps: Number of optimizer steps of the run.
        milestones: Increasing fractions of the run, in (0, 1), at which the rate drops.
        gamma: Factor applied at each milestone.
        warmup: Length of the linear warm-up, as a fraction of the run (below 1) or in steps (1 or more).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        milestones: Sequence[float] = (0.5, 0.75),
        gamma: float = 0.1,
        warmup: float = 0.0,
    ):
        if list(milestones) != sorted(milestones) or not all(0 < m < 1 for m in milestones):
            raise ValueError(f"milestones must be increasing fractions of the run in (0, 1), got {list(milestones)}")
        drops = [round(m * total_steps) for m in milestones]

        def stairs(step: int) -> float:
            return math.pow(gamma, sum(step >= drop for drop in drops))

        super().__init__(optimizer, after_warmup(warmup_steps(warmup, total_steps), stairs))


class RangeTest(LambdaLR):
    """A learning rate that rises exponentially, for a range test (Smith 2017, arXiv:1506.01186, section 3.3).

    `LearningRateRange` observes it; `configs/sweeps/lr_range.yaml` sets up both.

    Args:
        optimizer: The optimizer whose learning rates are scaled.
        total_steps: Number of optimizer steps of the run.
        lowest: Factor on the learning rates at the first step, above 0.
        highest: Factor at the last step, above `lowest`.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, lowest: float = 1e-3, highest: float = 100.0):
        if not 0 < lowest < highest:
            raise ValueError(f"lowest must be above 0 and below highest, got {lowest} and {highest}")
        last = max(1, total_steps - 1)
        super().__init__(optimizer, lambda step: lowest * (highest / lowest) ** (step / last))
