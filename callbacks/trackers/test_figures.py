"""The figures and plots of a test, sent to the trackers of the run that the checkpoint is from."""

import json
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from callbacks.trackers import tensorboard
from callbacks.trackers.images import NewImages
from callbacks.trackers.wandb_run import ID_FILE, WandbRun, has_login, read_id_file


class TestFigures(Callback):
    """Callback that sends the figures of `test_metrics.json` and the plots of a test to the trackers of the run folder.

    The folder shows which these are: `wandb/run.json` and `tensorboard/`. A test never fails because of them and never
    asks for a login: it then says that the figures were not sent.
    """

    __test__ = False  # for pytest: not a test, though its name begins with "Test"

    def __init__(self) -> None:
        self._images: NewImages | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record which plots existed before."""
        if stage == "test" and trainer.is_global_zero:
            self._images = NewImages(Path(trainer.default_root_dir))
            self._images.take()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Send what the test has written."""
        images, self._images = self._images, None
        file = Path(trainer.default_root_dir) / "test_metrics.json"
        if images is None or not file.is_file():
            return
        record = json.loads(file.read_text(encoding="utf-8"))
        figures = {name: value for name, value in record.items() if name.startswith("test/") and value is not None}
        plots = images.take()
        for tracker in trackers_in(file.parent):
            if isinstance(tracker, WandbRun):
                _send_to_wandb(tracker, figures, plots)
            elif isinstance(tracker, TensorBoardLogger):
                step = max(0, (record.get("checkpoint_step") or 0) - 1)  # at which this step was logged
                tracker.log_metrics(figures, step)
                named = {f"test/{name}": path for name, path in plots.items()}
                tensorboard.log_images(tracker, named, step)
                tracker.finalize("success")


def add_trackers_of(folder: Path, trainer: Trainer) -> None:
    """Have a resumed run log to its earlier trackers, in addition to those that it was given."""
    if trainer.loggers:
        given = {type(logger) for logger in trainer.loggers}
        trainer.loggers += [each for each in trackers_in(folder) if type(each) not in given]


def trackers_in(folder: Path) -> list[Logger]:
    """Return the trackers of a run folder that can be used, and print which cannot."""
    trackers: list[Logger] = []
    if (folder / tensorboard.FOLDER).is_dir() and find_spec("tensorboard"):
        trackers.append(TensorBoardLogger(str(folder), name="", version=tensorboard.FOLDER, default_hp_metric=False))
    try:
        entry = read_id_file(folder)
    except ValueError as error:
        print(error, flush=True)
        return trackers
    if entry is not None and not find_spec("wandb"):
        print(f"not sent to W&B, which is not installed ({folder / ID_FILE})", flush=True)
    elif entry is not None and not has_login(entry["offline"]):
        print("not sent to W&B: there is no API key; run `wandb login` and repeat the command", flush=True)
    elif entry is not None:
        trackers.append(WandbRun(entry["project"], entry["offline"], save_dir=str(folder)))
    return trackers


def _send_to_wandb(tracker: WandbRun, figures: dict[str, float], plots: dict[str, Path]) -> None:
    import wandb

    try:
        tracker.send_test(figures, plots)
    except (wandb.Error, OSError) as error:
        print(f"test figures were not sent to W&B: {' '.join(str(error).split())}", flush=True)
