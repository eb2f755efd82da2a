"""The run folder: choosing it, locking it for one training process, its files, and the config that it keeps."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningModule, Trainer

from utils.checkpoints import FORMAT
from utils.distributed import gather_parts
from utils.files import run_folder_of, write_text
from utils.lock import NAME as LOCK
from utils.lock import FolderLock
from utils.run_weights import WEIGHTS

RUN_DIR_VARIABLE = "ONEFORALL_RUN_DIR"
"""Environment variable that tells the processes that Lightning starts for more GPUs which folder it is."""

_RUN, _CHOICE = "run folder", "--run_dir or --name"
_NUMBERED = re.compile(r"config-(\d+)\.yaml")

PREDICTIONS = ("predictions.csv", "predictions.txt", "predictions.jsonl")  # of images, of text


def weights_in(folder: Path) -> list[tuple[Path, str]]:
    """Return the checkpoints in a run folder that can be tested, and what each is."""
    checkpoints = [(folder / "checkpoints" / name, what) for name, what in WEIGHTS.items()]
    return [(path, what) for path, what in checkpoints if path.is_file()]


def newest_predictions(folder: Path) -> Path | None:
    """Return the file in a run folder that `predict` wrote last; None if there is none."""
    files = [folder / name for name in PREDICTIONS if (folder / name).is_file()]
    return max(files, key=lambda path: path.stat().st_mtime_ns, default=None)


def training_folder(wanted: Path, resume: bool, numbered: bool) -> tuple[Path, bool]:
    """Return the folder that `fit` writes into, and whether this process has just claimed it for a new run.

    Args:
        wanted: The requested folder.
        resume: Whether to continue in exactly that folder.
        numbered: Whether a new run may have `wanted-2`, `-3`, ... if it is taken.

    Raises:
        OSError: As `claim_folder` and `make_folder`.
    """
    # Where no variable tells the other ranks, RunFolder does
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return Path(os.environ.get(RUN_DIR_VARIABLE, wanted)), False
    if resume:
        make_folder(wanted)
        folder = wanted
    else:
        folder = claim_folder(wanted, numbered)
    os.environ[RUN_DIR_VARIABLE] = str(folder.absolute())
    return folder, not resume


def lock_run(folder: Path) -> FolderLock | None:
    """Lock a run folder for this process and return the lock; None on other ranks than the first.

    Raises:
        BlockingIOError: Another process writes into the folder; the message names it.
        OSError: As `make_folder`.
    """
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return None
    make_folder(folder)
    return FolderLock(folder)


def claim_folder(wanted: Path, numbered: bool) -> Path:
    """Create and return the folder of a new run: `wanted` or, if it is taken and `numbered` is true, `wanted-2`, ...

    An empty folder is free. It belongs to the run that first creates config.yaml in it; creating a file is atomic, so
    two runs that start at once get two folders.

    Raises:
        FileExistsError: `wanted` is taken and may not be numbered.
        OSError: The folder cannot be created.
    """
    make_folder(wanted.parent)
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir(exist_ok=True)
            if all(path.name == LOCK for path in folder.iterdir()):
                (folder / "config.yaml").touch(exist_ok=False)  # RunFolder fills it in
                return folder
        except FileExistsError:
            pass  # a file of that name, or another run was faster
        except OSError as error:
            raise _unwritable(folder, error) from error
        if not numbered:
            raise FileExistsError(
                f"run folder {wanted} is taken; pass --resume to continue that run, or another --run_dir"
            )
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")


def make_folder(folder: Path, what: str = _RUN, options: str = _CHOICE) -> None:
    """Create a folder, and those above it, if missing.

    Args:
        folder: The folder.
        what: What it is, for the error.
        options: The options that choose another.

    Raises:
        OSError: It cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise _unwritable(folder, error, what, options) from error


def _unwritable(folder: Path, error: OSError, what: str = _RUN, options: str = _CHOICE) -> OSError:
    reason = error.strerror or str(error)
    return OSError(f"{what} {folder} cannot be created or written to ({reason}); choose another with {options}")


def release_folder(folder: Path) -> None:
    """Remove the folder of a run that never began, unless it contains more than is written before the first step."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=1)  # else it writes into the folder and to the terminal at exit
    if all(_written_before_training(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()):
        shutil.rmtree(folder, ignore_errors=True)


def _written_before_training(path: Path) -> bool:
    """Return whether a run writes a file, given by its path in the run folder, before its first step."""
    return (
        path.name in ("config.yaml", "summary.md", "run.json", "metrics.csv", "tokenizer.json", LOCK)
        or path.name == "hparams.yaml"  # of TensorBoard and of Lightning's own CSV logger
        or path.name.startswith("events.out.tfevents.")
        or path.parts[0] == "wandb"
    )


def evaluation_folder(wanted: Path | None, ckpt_path: str, output: str | None = None) -> Path:
    """Return the folder that `validate`, `test` and `predict` write into.

    Args:
        wanted: The requested folder; if None, that of the checkpoint's run.
        ckpt_path: The checkpoint.
        output: The file that predictions are written to; its folder is created.

    Raises:
        FileExistsError: The requested folder is that of another run.
        OSError: A folder cannot be created or written to, or `output` is one or leads to a pipe between two programs.
    """
    own = run_folder_of(Path(ckpt_path))
    folder = wanted or own
    if folder.resolve() != own.resolve() and (folder / "config.yaml").is_file():
        raise FileExistsError(
            f"{folder} is the folder of another run, whose figures would be lost; pass another --run_dir or --name, or "
            f"none to write into {own}"
        )
    if output:
        _prepare_output(Path(output))
    make_folder(folder)
    return folder


def _prepare_output(output: Path) -> None:
    """Create the folder of a file of predictions, or raise OSError if they cannot be written to it."""
    if output.is_dir():
        raise IsADirectoryError(f"--output {output} is a folder: specify a file in it")
    if output.exists() and not output.resolve().exists():  # /dev/stdout before a |
        raise OSError(f"--output {output} leads to a pipe: specify a file")
    if output.is_file() or not output.exists():
        make_folder(output.absolute().parent, "--output: folder", "--output")


class RunFolder(Callback):
    """The resolved config, kept beside the results: in `config.yaml` and in each checkpoint.

    `config.yaml` is what the run uses from now on. It is written once the checkpoint of a resumed run has been loaded:
    one that cannot be resumed leaves the folder as it was. If it differs from the one before, that one is kept as
    `config-1.yaml`, `config-2.yaml`, ...

    The run folder is `trainer.default_root_dir`, on every rank the one that the first rank chose.

    Args:
        config: The resolved config as plain values.
        changes: What a resumed run changes, as text.
    """

    def __init__(self, config: dict[str, Any], changes: Sequence[str] = ()):
        self.config = config
        self.changes = changes

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the run folder."""
        folder = trainer.strategy.broadcast(str(trainer.default_root_dir))
        # Lightning has no setter, and ranks started by srun cannot agree earlier
        trainer._default_root_dir = folder  # type: ignore[attr-defined]
        if stage == "fit":
            _require_same_checkpoint(gather_parts(_identity(trainer.ckpt_path)))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `config.yaml` if there is none yet."""
        path = _config_file(trainer)
        if trainer.is_global_zero and (not path.is_file() or path.stat().st_size == 0):
            self._write(path)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what a resumed run changes, and write `config.yaml`."""
        if not trainer.is_global_zero:
            return
        if self.changes:
            print(f"resuming with changes: {'; '.join(self.changes)}", flush=True)
        path = _config_file(trainer)
        if path.read_text(encoding="utf-8") != self._text():
            shutil.copy2(path, next_config_file(path.parent))  # not moved, so that there is always a config.yaml
            self._write(path)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the config, and the number of the checkpoint format."""
        checkpoint["config"] = self.config
        checkpoint["format"] = FORMAT

    def _text(self) -> str:
        return yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)

    def _write(self, path: Path) -> None:
        write_text(path, self._text())


def _identity(checkpoint: str | os.PathLike[str] | None) -> tuple[str, int, int] | None:
    """Return name, size and time of a checkpoint, as this node sees it."""
    if checkpoint is None:
        return None
    status = Path(checkpoint).stat()
    return Path(checkpoint).name, status.st_size, status.st_mtime_ns


def _require_same_checkpoint(identities: Sequence[tuple[str, int, int] | None]) -> None:
    """Raise ValueError if not all processes, in the order of their ranks, resume from the same checkpoint."""
    first = identities[0]
    for rank, other in enumerate(identities):
        if other != first:
            raise ValueError(
                f"rank 0 resumes from {first[0] if first else 'nothing'}, but rank {rank} from "
                f"{other[0] if other else 'nothing'}, or from another state of it: not all nodes see the same files "
                "yet; start again in a minute"
            )


def _config_file(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "config.yaml"


def earlier_config_files(folder: Path) -> list[Path]:
    """Return the configs that a run was started or resumed with before its current one, oldest first."""
    numbered = {int(found[1]): path for path in folder.glob("config-*.yaml") if (found := _NUMBERED.match(path.name))}
    return [numbered[number] for number in sorted(numbered)]


def next_config_file(folder: Path) -> Path:
    """Return the file that keeps the config which is about to be replaced."""
    earlier = earlier_config_files(folder)
    number = int(_NUMBERED.match(earlier[-1].name)[1]) if earlier else 0  # type: ignore[index]
    return folder / f"config-{number + 1}.yaml"
