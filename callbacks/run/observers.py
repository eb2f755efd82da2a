"""The callbacks that every run has, whatever its config says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback

from callbacks.plots.first_filters import FirstFilters
from callbacks.plots.reliability import Reliability
from callbacks.predictions.image_predictions import Predictions
from callbacks.predictions.text_outputs import TextOutputs
from callbacks.predictions.text_predictions import TextPredictions
from callbacks.run.earlier_results import EarlierResults
from callbacks.run.early_end import EarlyEnd
from callbacks.run.monitors import MonitorCheck
from callbacks.run.resumed_settings import ResumedSettings
from callbacks.run.run_folder import RunFolder
from callbacks.run.summary import Summary
from callbacks.run.test_metrics import TestMetrics
from callbacks.trackers.test_figures import TestFigures
from callbacks.trackers.trackers import Trackers


def observers(
    config: dict[str, Any], changes: Sequence[str] = (), output: str | None = None, progress: bool = True
) -> list[Callback]:
    """Return the callbacks of a run, in the order in which a Trainer calls them.

    Args:
        config: The resolved config as plain values.
        changes: What a resumed run changes, as text.
        output: Where `predict` writes; if None, into the run folder.
        progress: Whether to show the progress.
    """
    found: list[Callback] = [
        MonitorCheck(),
        RunFolder(config, changes),
        ResumedSettings(changed=bool(changes)),
        EarlyEnd(changed=any(change.startswith("trainer.callbacks") for change in changes)),
        Trackers(config),
        Summary(),
        TestMetrics(),
        Reliability(),
        FirstFilters(),
        TextOutputs(),
        Predictions(output),
        TextPredictions(output),
    ]
    if progress:
        from callbacks.progress import default_progress  # imports rich, which a run without progress does not need

        found.append(default_progress())
    return [*found, EarlierResults(), TestFigures()]  # after all that write results
