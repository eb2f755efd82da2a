"""Weights & Biases logger: one W&B run per run folder, through kills, resumes and tests."""

import json
import os
import re
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from callbacks.run.metrics_csv import Row
from callbacks.trackers.images import NewImages
from callbacks.trackers.wandb_record import STEP, recorded_step
from utils.error_text import text_of
from utils.files import write_text
from utils.time_limit import call_in_time

ID_FILE = "wandb/run.json"
"""File in the run folder that names its W&B run. It may be a stranger's, so it names no account and no server."""

NO_LOGIN = (
    "W&B has no API key: run `wandb login` once, or set WANDB_API_KEY, or log to files with --config "
    "configs/logger/wandb_offline.yaml"
)

_PLAIN = {"id": re.compile(r"[\w-]{1,64}"), "project": re.compile(r"[^/\\#?%:\x00-\x1f]{1,128}")}
"""What W&B allows as id and as project."""


def _outlives_outages(method: Callable[..., None]) -> Callable[..., None]:
    """Let a failure of W&B end what a run sends, but not training: the next start sends what is missing.

    Before the run has ever started, a failure is an error: the key or the project may be wrong.
    """

    @wraps(method)
    def call(self: "WandbRun", *args: Any, **kwargs: Any) -> None:
        import wandb

        if self._lost:
            return
        try:
            method(self, *args, **kwargs)
        except (wandb.Error, OSError) as error:
            self._lose(error)

    return call


class WandbRun(WandbLogger):
    """Lightning's `WandbLogger`, but the run has every step once, however often training was killed and resumed.

    W&B only ever appends. Values are therefore sent once `last.ckpt` covers them, so that no resumed run logs them
    again, and they come from `metrics.csv`, so that what a killed process had not yet written, or could not send, is
    sent when the run resumes: everything between the last step that W&B has and the checkpoint. Plots of the run folder
    are sent with them, and the best weights at the end, as the artifact `model-ID`. A run that is stopped sends no
    weights: the time that a cluster leaves it may not suffice, and the resumed run sends them.

    The id is kept in `wandb/run.json` in the run folder. The account is that of `wandb login`; WANDB_ENTITY names a
    team.

    Args:
        project: Project on W&B.
        offline: Whether to write only to files in the run folder, which `wandb sync` can upload later.
        name: Name of the run on W&B; if null, that of the run folder.
        tags: Tags of the run on W&B.
        group: Group of runs on W&B, such as the seeds of one setting; if null, no group.
        log_best: Whether `best.ckpt` is sent when training ends.
        save_dir: The run folder; if empty, the command line fills it in.

    Raises:
        ValueError: There is no API key.
    """

    def __init__(
        self,
        project: str = "one-for-all",
        offline: bool = False,
        name: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        log_best: bool = True,
        save_dir: str = "",
    ):
        self.folder = Path(save_dir)
        saved = read_id_file(self.folder)
        super().__init__(
            name=name or self.folder.absolute().name,
            save_dir=str(self.folder),
            id=saved["id"] if saved else secrets.token_hex(4),
            project=saved["project"] if saved else project,
            # Lightning's `offline` sets an environment variable that outlasts the run
            mode="offline" if offline else None,
            tags=list(tags) or None,
            group=group,
        )
        self.log_best = log_best
        self._offline_by_config = offline
        self._media: dict[int | None, dict[str, Any]] = {}  # by step, until it is sent
        self._images = NewImages(self.folder)
        self._sent = -1  # last step that W&B has
        self._covered = 0  # first step that no checkpoint covers
        self._where = ""
        self._has_started = saved is not None
        self._lost = False  # whether W&B has failed
        if rank_zero_only.rank == 0 and not has_login(offline):  # type: ignore[attr-defined]
            raise ValueError(NO_LOGIN)

    # --- the run on W&B ----------------------------------------------------------------------------------------

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started on first access; if W&B fails then, a dummy that accepts every call."""
        import wandb

        try:
            return _DummyExperiment() if self._lost else self._started()
        except (wandb.Error, OSError) as error:
            self._lose(error)
            return _DummyExperiment()

    def _started(self) -> Any:
        return WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]

    def _lose(self, error: Exception) -> None:
        """Send nothing more from now on; raise the error if the run has never started."""
        if not self._has_started:
            raise error
        self._lost = True
        rank_zero_warn(
            f"W&B has failed ({text_of(error)}): nothing more is sent; the rest is sent when the run is resumed"
        )

    @rank_zero_only
    @_outlives_outages
    def start(self, config: dict[str, Any]) -> None:
        """Start the run on W&B, or continue it, with the config of this run.

        W&B then reports its last step: from its server or, if it is offline, from the files in the run folder.
        """
        entry = {"id": self._id, "project": self._project, "offline": self._offline_by_config}
        write_text(self.folder / ID_FILE, json.dumps(entry) + "\n")
        run = self.experiment
        if run.id != self._id and isinstance(run.id, str):  # an agent of `wandb sweep` has its own id and project
            self._id = run.id
            write_text(self.folder / ID_FILE, json.dumps({**entry, "id": run.id, "project": run.project}) + "\n")
        run.config.update(config, allow_val_change=True)
        if run.offline:
            self._sent = recorded_step(self.folder / "wandb", run.id)
            self._where = f"wandb sync {shlex.quote(str(self.folder))}/wandb/offline-run-*-{run.id}"
        else:
            last = run.summary.get(STEP)
            self._sent = int(last) if isinstance(last, int | float) else -1
            self._where = str(run.url)
        self._has_started = True

    @property
    def where(self) -> str:
        """URL of the run on W&B, or the command that uploads it; empty before the run has started."""
        return self._where

    @rank_zero_only
    @_outlives_outages
    def finalize(self, status: str) -> None:
        """Send the last images and tables and, if training has succeeded, the best weights; end the run on W&B."""
        if self._experiment is None:
            return
        if media := self._take_media(self._covered, without_step=True) | self._new_images():
            self._log(media, max(self._sent, 0))
        best = self.folder / "checkpoints" / "best.ckpt"
        if status == "success" and self.log_best and self._where and best.is_file():
            self._log_artifact(best)
        run, self._experiment = self._experiment, None
        if status == "success":
            run.finish(exit_code=0)
        else:
            call_in_time(partial(run.finish, exit_code=1))  # W&B itself waits until everything is uploaded

    # --- what is sent ------------------------------------------------------------------------------------------

    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: `start` sends the whole config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep images and tables until they are sent; numbers come from `metrics.csv`."""
        media = {name: value for name, value in metrics.items() if hasattr(value, "to_json") or isinstance(value, list)}
        if media:
            self._media.setdefault(step, {}).update(media)

    @rank_zero_only
    @_outlives_outages
    def send(self, rows: Sequence[Row], before: int, scores: Mapping[str, float]) -> None:
        """Send the rows that W&B does not have, each with the images and tables since the previous row.

        Images and tables without a step, and those after the last row, are sent with the last row.

        Args:
            rows: Those of `metrics.csv`.
            before: The first step that no checkpoint covers.
            scores: Best and last scores of the run.
        """
        self._covered = before
        new = [row for row in rows if self._sent < (row["step"] or 0) < before]
        for row in new:
            step = int(row["step"] or 0)
            values: dict[str, Any] = {key: value for key, value in row.items() if value is not None and key != "step"}
            is_last = row is new[-1]
            values |= self._take_media(before if is_last else step + 1, without_step=is_last)
            if is_last:
                values |= self._new_images()
            self._log(values, step)
            self._sent = step
        if new:
            self.experiment.summary.update(dict(scores))

    def send_test(self, figures: Mapping[str, float], images: Mapping[str, Path]) -> None:
        """Send the figures and plots of a test, which have no step on the axis of training.

        Raises:
            wandb.Error, OSError: W&B fails.
        """
        import wandb

        run = self._started()
        run.log({**figures, **{f"test/{name}": wandb.Image(str(path)) for name, path in images.items()}})
        run.finish()
        self._experiment = None

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        super().log_metrics(dict(values), step)

    def _take_media(self, before: int, without_step: bool) -> dict[str, Any]:
        """Return the images and tables logged before a step, and if wanted those without one, and forget them."""
        steps = [step for step in self._media if (without_step if step is None else step < before)]
        return {name: value for step in steps for name, value in self._media.pop(step).items()}

    def _new_images(self) -> dict[str, Any]:
        import wandb

        return {name: wandb.Image(str(path)) for name, path in self._images.take().items()}

    def _log_artifact(self, best: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"model-{self._id}", type="model")
        artifact.add_file(str(best))
        self.experiment.log_artifact(artifact, aliases=["best"])


def read_id_file(folder: Path) -> dict[str, Any] | None:
    """Return id, project and mode of the run of W&B that a run folder belongs to; None if it has none.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / ID_FILE
    if not path.is_file():
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        intact = all(form.fullmatch(entry[name]) for name, form in _PLAIN.items()) and type(entry["offline"]) is bool
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise ValueError(f"{path} does not name a run of W&B; remove it to start another W&B run")
    return {name: entry[name] for name in ("id", "project", "offline")}


def has_login(offline: bool) -> bool:
    """Return whether W&B can be used without asking for anything: there is an API key, or it is offline."""
    import wandb

    modes = ("offline", "dryrun", "disabled")
    if offline or os.environ.get("WANDB_MODE") in modes or wandb.setup().settings.mode in modes:
        return True
    return bool(wandb.login(prompt=False, verify=False))
