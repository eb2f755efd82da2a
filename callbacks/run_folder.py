"""The folder of a run: which one it is, and the config it keeps."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.files import atomic_path


def claim_folder(wanted: Path, numbered: bool) -> Path:
    """Makes the folder of a new run, which no other run has: `wanted`, or with `numbered` `wanted-2`, `-3`, ...

    An empty folder is free. The run that first makes config.yaml in it has it, and making a file is atomic, so two
    runs that start at once get two folders.

    Raises:
        FileExistsError: `wanted` is taken and may not be numbered.
        OSError: It cannot be made there.
    """
    make_folder(wanted.parent)
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir(exist_ok=True)
            if not any(folder.iterdir()):
                (folder / "config.yaml").touch(exist_ok=False)  # RunFolder fills it in
                return folder
        except FileExistsError:
            pass  # a file of that name, or another run was sooner
        except OSError as error:
            raise _unwritable(folder, error) from error
        if not numbered:
            raise FileExistsError(
                f"run folder {wanted} is taken; pass --resume to go on with that run, or another --run_dir"
            )
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it where they are missing.

    Raises:
        OSError: It cannot be made, or not written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    return OSError(f"run folder {folder} cannot be made or written ({reason}); choose another by --run_dir or --name")


def release_folder(folder: Path) -> None:
    """Removes the folder of a run that never began, unless it holds more than what is written before the first step."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if all(path.name in ("config.yaml", "summary.md", "metrics.csv") for path in files):
        shutil.rmtree(folder, ignore_errors=True)


def evaluation_folder(run_dir: str | None, name: str | None, ckpt_path: str) -> Path:
    """Where `validate`, `test` and `predict` write: the folder of the run that the checkpoint came from."""
    if run_dir or name:
        folder = Path(run_dir) if run_dir else Path("runs") / str(name)
        make_folder(folder)
        return folder
    folder = Path(ckpt_path).parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    make_folder(folder)
    return folder


class RunFolder(Callback):
    """Keeps the resolved config beside what came of it: in `config.yaml` and in each checkpoint.

    The run folder is `trainer.default_root_dir`, on every rank the one that the first rank chose.

    Args:
        config: The resolved config as plain values.
    """

    def __init__(self, config: dict[str, Any]):
        self.config = config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = trainer.strategy.broadcast(str(trainer.default_root_dir))
        # Lightning has no setter, and ranks started by srun cannot agree earlier
        trainer._default_root_dir = folder  # type: ignore[attr-defined]
        if stage == "fit" and trainer.is_global_zero:
            with atomic_path(Path(folder) / "config.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
