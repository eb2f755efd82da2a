"""Check for NaN or infinite losses and gradients: training stops before a checkpoint can store the result."""

import math
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from callbacks.loss_scaling import scaler_of, unscaled
from utils.checks import check_choice, check_positive_int
from utils.contracts import NamesTrainingMetrics
from utils.distributed import gather_list, gather_parts
from utils.sharded import local_part

MOST_SKIPS_OF_A_SCALER = 32
"""With loss scaling (16-mixed), number of steps in a row whose gradients may be infinite: each halves the scale."""

SKIPPED_STEPS = "train/skipped_steps"
"""Name under which the number of skipped steps is logged."""


class NonFiniteError(FloatingPointError):
    """Training cannot continue: the loss, a gradient or a weight is not finite."""


class NonFinite(Callback, NamesTrainingMetrics):
    """Callback that stops training at the first loss or gradient that is not finite, or skips and counts such steps.

    The message names the step, the epoch, the batch and the module with the largest gradient. No checkpoint is written
    from then on, so that `best.ckpt` and `last.ckpt` hold the weights from before.

    On the CPU, each step is checked before it is taken. On other devices and with several processes, a check at each
    step would make all of them wait, so norms are collected, and read every `every_n_steps` steps, before each
    validation and before each checkpoint. With the loss scaling of 16-mixed, which causes infinite gradients as it
    searches for its scale and skips their steps itself, gradients count only after 32 such steps in a row.

    Args:
        action: Whether to stop training (`stop`), or to skip the optimizer step, log the number of skipped steps as
            `train/skipped_steps` and continue (`skip`). `skip` waits for the device at each step.
        every_n_steps: With `stop`, on devices other than the CPU and with several processes: number of optimizer steps
            between two readings of the collected norms.
    """

    def __init__(self, action: Literal["stop", "skip"] = "stop", every_n_steps: int = 50) -> None:
        check_choice("non_finite.action", action, ("stop", "skip"))
        self.action = action
        self.every_n_steps = check_positive_int("non_finite.every_n_steps", every_n_steps)
        self.skipped = 0
        self._losses: list[Tensor] = []
        self._steps: list[_Step] = []
        self._in_a_row = 0
        self._parameters: list[tuple[str, nn.Parameter]] = []
        self._buffers: tuple[list[Tensor], list[Tensor]] = ([], [])  # of the network, and copies from before the step

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps skipped so far."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of steps skipped before."""
        self.skipped = state_dict["skipped"]

    # --- what is collected -------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """List the parameters once: walking through all modules takes longer than the norms of their gradients."""
        self._losses, self._steps, self._in_a_row = [], [], 0
        self._parameters = list(pl_module.named_parameters())
        if self.action == "skip":
            buffers = [buffer for buffer in pl_module.buffers() if buffer.numel()]
            self._buffers = (buffers, [buffer.clone() for buffer in buffers])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Copy the running statistics, which a forward pass changes before anything shows that it went wrong."""
        buffers, copies = self._buffers
        if buffers and batch_idx % trainer.accumulate_grad_batches == 0:
            torch._foreach_copy_(copies, buffers)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the loss of a batch until its optimizer step."""
        self._losses.append(unscaled(loss.detach(), trainer).reshape(()))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Keep losses and norms of a step; check them if that costs nothing or is due."""
        losses, self._losses = self._losses, []
        given = [(name, parameter.grad) for name, parameter in self._parameters if parameter.grad is not None]
        if not losses or not given:  # the training step returned None
            return
        self._steps.append(
            _Step(
                (trainer.global_step + 1, trainer.current_epoch + 1, trainer.fit_loop.batch_idx + 1),
                len(losses),
                [name for name, _ in given],
                _losses_and_norms(losses, [gradient for _, gradient in given]),
            )
        )
        if self.action == "skip":
            self._skip_if_bad(trainer, optimizer)
        elif (trainer.world_size == 1 and pl_module.device.type == "cpu") or len(self._steps) >= self.every_n_steps:
            self._check(trainer)

    # --- when it is read ---------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a validation that would be meaningless."""
        self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the epoch's last steps; log how many were skipped."""
        self._check(trainer)
        if self.action == "skip":
            pl_module.log(SKIPPED_STEPS, float(self.skipped))

    def training_metrics(self) -> list[str]:
        """Return the name of what `on_train_epoch_end` logs."""
        return [SKIPPED_STEPS] if self.action == "skip" else []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep training from writing a checkpoint with weights that are not finite.

        Raises:
            NonFiniteError: A step since the last check, or a weight, was not finite.
        """
        if trainer.state.fn != "fit":
            return
        self._check(trainer)
        bad = not_finite(pl_module)
        if trainer.world_size > 1:  # if weights are split, only one process may see it
            bad = list(dict.fromkeys(gather_list(bad)))
        if bad:
            of = f" and {len(bad) - 1} others" if len(bad) > 1 else ""
            raise NonFiniteError(
                f"training stopped at optimizer step {trainer.global_step}: the weights {bad[0]}{of} are not finite, "
                f"though the gradients were; {_advice(trainer)}"
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the last steps; say how many were skipped."""
        self._check(trainer)
        if self.skipped:
            rank_zero_warn(f"{self.skipped:,} of {trainer.global_step:,} optimizer steps were skipped as not finite")

    def _skip_if_bad(self, trainer: Trainer, optimizer: Optimizer) -> None:
        if (report := self._first_bad(trainer)) is None:
            return
        self.skipped += 1
        optimizer.zero_grad(set_to_none=True)  # without gradients, optimizers leave weights and state as they are
        buffers, copies = self._buffers
        if buffers:
            torch._foreach_copy_(buffers, copies)
        rank_zero_warn(f"skipped {report}")

    def _check(self, trainer: Trainer) -> None:
        """Raise NonFiniteError if a collected step was not finite; every process must call this."""
        if trainer.world_size == 1 and not self._steps:
            return
        if (report := self._first_bad(trainer)) is not None:
            raise NonFiniteError(f"training stopped at {report}; {_advice(trainer)}")

    def _first_bad(self, trainer: Trainer) -> str | None:
        """Return what was wrong with the first bad step collected on any process, None if there is none; forget all."""
        steps, self._steps = self._steps, []
        rows = torch.cat([step.values for step in steps]).tolist() if steps else []  # the only wait for the device
        scaled = scaler_of(trainer) is not None
        found: tuple[int, str] | None = None
        for step in steps:
            row, rows = rows[: len(step.values)], rows[len(step.values) :]
            losses, norms = row[: step.losses], row[step.losses :]
            bad_gradient = not all(map(math.isfinite, norms))
            self._in_a_row = self._in_a_row + 1 if bad_gradient else 0
            if scaled and self._in_a_row <= MOST_SKIPS_OF_A_SCALER:
                bad_gradient = False
            if found is None and (bad_gradient or not all(map(math.isfinite, losses))):
                found = (step.place[0], _report(step, losses, norms))
        if trainer.world_size > 1:  # a loss may be bad on only one of them
            found = min((each for each in gather_parts(found) if each is not None), default=None)
        return None if found is None else found[1]


class _Step(NamedTuple):
    """An optimizer step: its number, epoch and last batch, all counted from 1, and its losses and norms in a row."""

    place: tuple[int, int, int]
    losses: int
    names: list[str]
    values: Tensor


def _losses_and_norms(losses: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Return the losses and the norm of each gradient, [losses + gradients], without waiting for the device."""
    # If gradients are split, each process checks its part
    parts = [gradient._values() if gradient.is_sparse else local_part(gradient) for gradient in gradients]
    # In float32: the norm of gradients that fit into float16 may not
    norms = torch._foreach_norm(parts, 2, dtype=torch.promote_types(parts[0].dtype, torch.float32))
    return torch.stack([*losses, *norms])


def _report(step: _Step, losses: list[float], norms: list[float]) -> str:
    number, epoch, batch = step.place
    bad = [loss for loss in losses if not math.isfinite(loss)]
    loss = f"loss {bad[0] if bad else losses[-1]:g}"

    def size(place: int) -> tuple[bool, float, int]:  # NaN is the largest; of several, that nearest to the output
        return math.isnan(norms[place]), 0.0 if math.isnan(norms[place]) else norms[place], place

    largest = max(range(len(norms)), key=size)
    module, _, parameter = step.names[largest].rpartition(".")
    count = sum(not math.isfinite(norm) for norm in norms)
    return (
        f"optimizer step {number} (epoch {epoch}, batch {batch}): {loss}, largest gradient in {module or parameter} "
        f"({parameter}: norm {norms[largest]:g}), not finite in {count} of {len(norms)} parameters"
    )


def _advice(trainer: Trainer) -> str:
    return (
        "the checkpoints have earlier weights; lower the learning rate, set --trainer.gradient_clip_val, or skip such "
        "steps with --non_finite.action skip"
    )


def not_finite(module: nn.Module) -> list[str]:
    """Return the names of the parameters with NaN or infinity, and of the saved buffers with NaN.

    If parameters are split over processes, each checks its part. Buffers may contain infinity by design, such as a mask
    that is added to attention scores.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    buffers = {name: each for name, each in module.state_dict().items() if name not in parameters}
    wrong = {name: ~local_part(parameter).isfinite().all() for name, parameter in parameters.items()}
    wrong |= {name: each.isnan().any() for name, each in buffers.items() if isinstance(each, Tensor)}
    flags = torch.stack(list(wrong.values())).tolist() if wrong else []
    return [name for name, bad in zip(wrong, flags, strict=True) if bad]
