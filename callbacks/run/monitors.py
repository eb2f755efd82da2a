"""Check of the metrics that callbacks monitor: Lightning notices a wrong name only after the first epoch."""

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.run.best_checkpoint import BestCheckpoint, check_monitor
from utils.contracts import NamesTrainingMetrics, NamesValidationMetrics


class MonitorCheck(Callback):
    """Callback that checks that the model logs what other callbacks monitor, such as `EarlyStopping`.

    Only models that say what they log (`NamesValidationMetrics`) are checked. `BestCheckpoint` checks its own metric.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check all callbacks.

        Raises:
            ValueError: The model does not log the metric, or only in a validation that is turned off.
        """
        names = logged_metrics(trainer, pl_module)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None)
            if isinstance(monitor, str) and not isinstance(callback, BestCheckpoint) and names:
                check_monitor(type(callback).__name__, monitor, names, pl_module)


def logged_metrics(trainer: Trainer, pl_module: LightningModule) -> list[str]:
    """Return what a model says it logs in training and, unless it is turned off, in the validation of a fit.

    What callbacks say they log is added, unless the model does not say anything.
    """
    validation = isinstance(pl_module, NamesValidationMetrics) and trainer.enable_validation
    names: list[str] = pl_module.validation_metrics() if validation else []  # type: ignore[operator]
    if isinstance(pl_module, NamesTrainingMetrics):
        names = [*names, *pl_module.training_metrics()]
    if names:
        logging = [each for each in trainer.callbacks if isinstance(each, NamesTrainingMetrics)]  # type: ignore[attr-defined]
        names = [*names, *(name for each in logging for name in each.training_metrics())]
    return names
