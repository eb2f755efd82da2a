"""Learning-rate schedules, counted in optimizer steps.

Each is a `LambdaLR` built as `Schedule(optimizer, total_steps, ...)`: the Lightning module fills in the first two,
YAML the rest. The factor multiplies every parameter group's own learning rate, so a smaller rate for a fine-tuned
body stays smaller by the same factor all along. `warmup` is a fraction of `total_steps` below 1, or a number of
steps from 1 on.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def with_schedule(
    optimizer: Optimizer, schedule: Callable[[Optimizer, int], LRScheduler], trainer: Trainer
) -> dict[str, Any]:
    """What `configure_optimizers` returns: the optimizer, and its schedule over all of the run's steps.

    Args:
        optimizer: The optimizer.
        schedule: Makes the schedule from it and the number of the run's optimizer steps.
        trainer: Whose run it is.

    Raises:
        ValueError: The run has no end.
    """
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise ValueError("a schedule needs an end: set trainer.max_epochs or trainer.max_steps, -1 is neither")
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer, int(steps)), "interval": "step"}}


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Turns a warm-up given as a fraction of the run (below 1) or as steps (1 and more) into steps."""
    if warmup < 0:
        raise ValueError(f"warmup must be a fraction in [0, 1) or a number of steps, got {warmup}")
    steps = round(warmup * total_steps) if warmup < 1 else round(warmup)
    if steps >= total_steps:
        raise ValueError(f"warmup of {steps} steps leaves nothing of a run of {total_steps} steps; lower it")
    return steps


def after_warmup(factor: Callable[[float], float], warmup: int, total_steps: int) -> Callable[[int], float]:
    """Rises linearly to 1 over `warmup` steps, then follows `factor(progress)`, progress going from 0 to 1."""

    def at_step(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return factor(min(1.0, (step - warmup) / max(1, total_steps - warmup)))

    return at_step


class Constant(LambdaLR):
    """The same learning rate throughout, after an optional linear warm-up.

    Args:
        optimizer: The optimizer whose groups are scaled.
        total_steps: Optimizer steps of the whole run.
        warmup: Fraction of the run (below 1) or number of steps (1 and more) of linear warm-up.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0):
        steps = warmup_steps(warmup, total_steps)
        super().__init__(optimizer, after_warmup(lambda progress: 1.0, steps, total_steps))


class WarmupCosine(LambdaLR):
    """Linear warm-up, then half a cosine down to `final_factor` (Loshchilov and Hutter 2017, section 3, no restarts).

    Args:
        optimizer: The optimizer whose groups are scaled.
        total_steps: Optimizer steps of the whole run.
        warmup: Fraction of the run (below 1) or number of steps (1 and more) of linear warm-up.
        final_factor: What is left of the learning rate at the last step.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final_factor: float = 0.0):
        def cosine(progress: float) -> float:
            return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress))

        steps = warmup_steps(warmup, total_steps)
        super().__init__(optimizer, after_warmup(cosine, steps, total_steps))


class InverseSqrt(LambdaLR):
    """Linear warm-up, then a decay with the inverse square root of the step (Vaswani et al. 2017, section 5.3).

    The factor is 1 at the end of the warm-up, whatever its length, and depends on the length of the run only where the
    warm-up is a fraction of it: training can go on for as long as one likes.

    Args:
        optimizer: The optimizer whose groups are scaled.
        total_steps: Optimizer steps of the whole run.
        warmup: Fraction of the run (below 1) or number of steps (1 and more) of linear warm-up.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.1):
        rise = max(1, warmup_steps(warmup, total_steps))

        def decay(step: int) -> float:
            return min((step + 1) / rise, (rise / (step + 1)) ** 0.5)

        super().__init__(optimizer, decay)


class OneCycle(LambdaLR):
    """One triangle: linearly up from `initial_factor`, linearly down to `final_factor` (Smith 2018, section 3).

    Args:
        optimizer: The optimizer whose groups are scaled.
        total_steps: Optimizer steps of the whole run.
        peak: Where the peak is, as a fraction of the run in [0, 1). 0 is a plain linear decay.
        initial_factor: Share of the learning rate at the first step.
        final_factor: Share of the learning rate at the last step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        peak: float = 0.25,
        initial_factor: float = 0.2,
        final_factor: float = 0.0,
    ):
        if not 0 <= peak < 1:
            raise ValueError(f"peak must be in [0, 1), got {peak}")

        def triangle(step: int) -> float:
            progress = min(1.0, step / total_steps)
            if progress < peak:
                return initial_factor + (1 - initial_factor) * progress / peak
            return 1 + (final_factor - 1) * (progress - peak) / (1 - peak)

        super().__init__(optimizer, triangle)


class MultiStep(LambdaLR):
    """Multiplies the learning rate by `gamma` at each milestone (He et al. 2015, section 4.2: at 1/2 and 3/4).

    Args:
        optimizer: The optimizer whose groups are scaled.
        total_steps: Optimizer steps of the whole run.
        milestones: Rising fractions of the run, in (0, 1), at which the rate drops.
        gamma: Factor applied at each milestone.
        warmup: Fraction of the run (below 1) or number of steps (1 and more) of linear warm-up.
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
            raise ValueError(f"milestones must be rising fractions of the run in (0, 1), got {list(milestones)}")
        drops = [round(m * total_steps) for m in milestones]
        rise = warmup_steps(warmup, total_steps)

        def stairs(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return gamma ** sum(step >= drop for drop in drops)

        super().__init__(optimizer, stairs)
