"""The folder of a run: which one it is, and the config it keeps."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.files import atomic_path


def claim_folder(wanted: Path, numbered: bool) -> Path:
    """Makes the folder of a new run, which no other run has: `wanted`, or with `numbered` `wanted-2`, `-3`, ...

    Making a folder is atomic, so two runs that start at once get two folders.

    Raises:
        FileExistsError: `wanted` is taken and may not be numbered.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True)
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError as error:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
            if not numbered:
                raise FileExistsError(
                    f"run folder {wanted} is taken; pass --resume to go on with that run, or another --run_dir"
                ) from error
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")


def release_folder(folder: Path) -> None:
    """Removes the folder of a run that never began, unless it holds more than its config."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"config.yaml", "summary.md"}:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def evaluation_folder(run_dir: str | None, name: str | None, ckpt_path: str) -> Path:
    """Where `validate`, `test` and `predict` write: the folder of the run that the checkpoint came from."""
    if run_dir or name:
        folder = Path(run_dir) if run_dir else Path("runs") / str(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(ckpt_path).parent
    return folder.parent if folder.name == "checkpoints" else folder


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
        trainer._default_root_dir = folder  # Lightning has no setter, and ranks started by srun cannot agree earlier
        if stage == "fit" and trainer.is_global_zero:
            with atomic_path(Path(folder) / "config.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
