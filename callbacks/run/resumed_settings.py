"""Changed settings of a resumed run, taken from its config; Lightning takes everything from the checkpoint.

Lightning restores the whole optimizer and schedule, including the learning rate: a new one would be silently ignored.
Here their settings come from the config if they have changed, and their state (momenta, number of steps) from the
checkpoint. With an unchanged config nothing is touched.
"""

import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from utils.contracts import IdentifiesTrainingData, datamodule_of
from utils.resume_position import (
    PLAN_KEY,
    batch_plan,
    goes_on_within_epoch,
    lacks_no_batch,
    position_of,
    renew_position,
)

SETTINGS_KEY = "optimizer_settings"
DATA_KEY = "training_data"
OF_SCHEDULE = ("lr", "initial_lr")
"""Settings of a parameter group that the schedule sets."""

Settings = list[dict[str, Any]]
"""The settings of each parameter group of an optimizer."""


class ResumedSettings(Callback):
    """Callback that applies changed settings of optimizer, schedule and the batches of an epoch to a resumed run.

    They are put into the loaded checkpoint just before Lightning restores optimizer, schedule and position from it:

    - A setting of the optimizer that differs from what it was at the start is replaced by the new one.
    - A schedule that would now be in another state at this step is replaced by the new one, moved to this step.
    - An epoch in progress whose batches are no longer the same begins again, which is reported.

    Other training or validation data are refused: a validation set that the model was trained on measures nothing.

    Args:
        changed: Whether the config may differ from the checkpoint's. If not, optimizer and schedule are restored whole,
            with whatever a callback has set in them.
    """

    def __init__(self, changed: bool = True) -> None:
        self.changed = changed
        self._checkpoint: dict[str, Any] | None = None  # the one that is being loaded
        self._settings: list[Settings] = []  # of each optimizer when it was built
        self._plan: dict[str, Any] | None = None
        self._data: dict[str, int] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        self._checkpoint, self._settings, self._plan, self._data = None, [], None, None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint until the optimizers are built; some strategies have built them already."""
        if trainer.state.fn == "fit":
            self._checkpoint = checkpoint
            if self._settings:
                self._renew(trainer, checkpoint)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put what has changed into the checkpoint that is about to be restored.

        Raises:
            ValueError: The data, or the parameters that are trained, are not those of the checkpoint.
        """
        datamodule = datamodule_of(trainer)
        if trainer.is_global_zero and isinstance(datamodule, IdentifiesTrainingData):  # the others may not have read it
            self._data = datamodule.training_data()
        self._settings = [settings_of(optimizer) for optimizer in trainer.optimizers]
        if self._checkpoint is not None:
            self._renew(trainer, self._checkpoint)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Release the checkpoint, which has been restored."""
        self._checkpoint = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the optimizers' settings, and what the batches of an epoch are."""
        if self._plan is None and trainer.train_dataloader is not None:
            self._plan = batch_plan(trainer)
        checkpoint[SETTINGS_KEY] = self._settings
        if self._plan is not None:
            checkpoint[PLAN_KEY] = self._plan
        if self._data is not None:
            checkpoint[DATA_KEY] = self._data

    def _renew(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        _check_data(trainer, checkpoint.get(DATA_KEY), self._data)
        _report_processes(trainer, checkpoint)
        _renew_position(trainer, checkpoint)
        if self.changed:
            self._renew_optimizers(trainer, checkpoint)

    def _renew_optimizers(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        states, schedules = checkpoint.get("optimizer_states", []), checkpoint.get("lr_schedulers", [])
        earlier = checkpoint.get(SETTINGS_KEY) or [state["param_groups"] for state in states]
        scheduled = [config.scheduler.optimizer for config in trainer.lr_scheduler_configs]
        for optimizer, state, now, before in zip(trainer.optimizers, states, self._settings, earlier, strict=False):
            _check_groups(state["param_groups"], now, trainer)
            renew_settings(state["param_groups"], now, before)
            if optimizer not in scheduled:
                renew_rates(state["param_groups"], now, before, was_scheduled=bool(schedules))
        for number, config in enumerate(trainer.lr_scheduler_configs):
            saved = schedules[number] if number < len(schedules) else {"last_epoch": checkpoint["global_step"]}
            new = renewed_schedule(config.scheduler, saved)
            if new is not None:
                schedules[number : number + 1] = [new]
                place = trainer.optimizers.index(config.scheduler.optimizer)
                _follow_schedule(states[place]["param_groups"], trainer.optimizers[place], self._settings[place])


def settings_of(optimizer: Optimizer) -> Settings:
    """Return the settings of each parameter group."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def renew_settings(saved: Settings, now: Settings, before: Settings) -> None:
    """Set those settings of saved parameter groups that were not the same when the saved optimizer was built.

    Those that stayed the same keep their saved value: a callback may have changed it in training. The learning rate is
    left to the schedule.
    """
    for group, settings, earlier in zip(saved, now, before, strict=True):
        for key, value in settings.items():
            if key not in OF_SCHEDULE and (key not in earlier or earlier[key] != value):
                group[key] = value


def renew_rates(saved: Settings, now: Settings, before: Settings, was_scheduled: bool) -> None:
    """Set the learning rates of saved parameter groups that have no schedule, if they are new or had one."""
    for group, settings, earlier in zip(saved, now, before, strict=True):
        if was_scheduled or earlier["lr"] != settings["lr"]:
            group["lr"] = settings["lr"]


def renewed_schedule(schedule: LRScheduler, saved: dict[str, Any]) -> dict[str, Any] | None:
    """Move a new schedule to the step of a saved one, and return its state; None if that is the same.

    A schedule that follows a metric cannot be moved; it keeps what it has seen.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        return None
    move_to(schedule, saved["last_epoch"])
    state: dict[str, Any] = schedule.state_dict()
    return None if all(key in saved and saved[key] == value for key, value in state.items()) else state


def move_to(schedule: LRScheduler, steps: int) -> None:
    """Advance a new schedule, and the learning rate of its optimizer, by a number of steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it steps before its optimizer does
        if isinstance(schedule, LambdaLR) and steps > 0:  # a function only of the step
            schedule.last_epoch, schedule._step_count = steps - 1, steps
            steps = 1
        for _ in range(steps):
            schedule.step()


def _follow_schedule(saved: Settings, optimizer: Optimizer, before: Settings) -> None:
    """Set what a schedule, moved to its step, has set in the groups of its optimizer: the learning rate, or more."""
    for group, now, earlier in zip(saved, optimizer.param_groups, before, strict=True):
        for key in earlier:
            if key in OF_SCHEDULE or now[key] != earlier[key]:
                group[key] = now[key]


def _check_data(trainer: Trainer, saved: dict[str, int] | None, now: dict[str, int] | None) -> None:
    """Raise ValueError on every process if the data of the first one are not those of a checkpoint."""
    there, here = saved or {}, now or {}
    different = [key for key in here if there and there.get(key) != here[key]]
    counts = [f"{there.get(key)} {key} there and {here[key]} here" for key in different if key != "checksum"]
    if trainer.strategy.broadcast(bool(different)):
        raise ValueError(
            f"the data are not those that {trainer.ckpt_path} was trained on "
            f"({', '.join(counts) or 'as many examples, but different ones'}), so that training and validation "
            "examples would mix; resume with the same data, or start a new run"
        )


def _check_groups(saved: Settings, now: Settings, trainer: Trainer) -> None:
    if len(saved) != len(now):
        raise ValueError(
            f"the optimizer of {trainer.ckpt_path} has {len(saved)} groups of parameters, and this one has {len(now)}: "
            "resume with the same optimizer and the same trainable parameters, or start a new run"
        )


def _report_processes(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Report a changed number of processes, which the config does not show with `devices: auto`."""
    before = checkpoint.get(PLAN_KEY, {}).get("world_size", trainer.world_size)
    if before != trainer.world_size:
        rank_zero_info(
            f"resuming with {trainer.world_size} processes instead of {before}: the total batch size changes"
        )


def _renew_position(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Let the epoch in progress begin again if its batches are no longer the same."""
    position = position_of(checkpoint)
    if position.batches == 0:
        return
    if trainer.train_dataloader is None:  # the length of the run did not depend on it
        trainer.fit_loop.setup_data()
    if goes_on_within_epoch(trainer, checkpoint):
        return
    if not lacks_no_batch(checkpoint):
        rank_zero_info(
            f"the batches of an epoch have changed: epoch {position.epochs} starts again, and the data of the "
            f"{position.batches} batches already done are repeated"
        )
    renew_position(trainer, checkpoint)
