"""What happens on `--resume`, in this order.

1. Without `--config`, the folder's config.yaml is the config (`command_line/carried_configs.py`). `cli.py` locks the
   folder, so that no other process trains in it (`utils/lock.py`).
2. `checkpoint_to_resume`, below, chooses the newest intact checkpoint: last.ckpt or, if that is damaged, previous.ckpt.
   A run that has not trained yet starts.
3. Its config fills in what the command line leaves open (`command_line/open_fields.py`), and a change that cannot work
   is refused (`command_line/resume_changes.py` has the table).
4. `resumed_settings.py` applies what has changed, and `run_folder.py` prints it and keeps the earlier config as
   config-N.yaml. An epoch whose batches are no longer the same begins again (`utils/resume_position.py`).
5. Lightning restores weights, optimizer, schedule, position and the states of callbacks; the LightningModule restores
   its tokenizer or vocabulary and the sums of the epoch so far (`lightning_modules/training_module.py`).
6. `resume_checkpoint.py`, which has saved it all, drops the rows of metrics.csv that were logged after the checkpoint.
7. Loaders start at the position (`datamodules/loader.py`). Random numbers are a function of it and need no state.
"""

from pathlib import Path

from utils.checkpoints import newest_intact_checkpoint, read_checkpoint, unreadable
from utils.resume_position import position_of


def checkpoint_to_resume(folder: Path) -> tuple[str | None, str]:
    """Return the checkpoint that a run resumes from, None if it has not trained yet, and a message for the terminal.

    Args:
        folder: The run folder, locked.

    Raises:
        ValueError: No checkpoint is intact, or the run has trained but has none to resume from.
    """
    newest = newest_intact_checkpoint(folder)
    return newest, _report(folder, newest)


def _report(folder: Path, checkpoint: str | None) -> str:
    if checkpoint is not None:
        try:
            position = position_of(read_checkpoint(checkpoint))
        except (KeyError, TypeError) as error:
            raise unreadable(checkpoint, f"it does not record the position of the training: {error!r}") from error
        return f"resuming {folder} at epoch {position.epochs + 1}, step {position.steps} ({Path(checkpoint).name})"
    best, metrics = folder / "checkpoints" / "best.ckpt", folder / "metrics.csv"
    if best.exists() or (metrics.is_file() and len(metrics.read_text(encoding="utf-8").splitlines()) > 1):
        way = f"start a new run from its best weights with --model.init_from {best}, " if best.exists() else ""
        raise ValueError(
            f"run folder {folder} has a run that has trained but no last.ckpt to resume from: {way}"
            f"choose another --run_dir, or remove {folder} to start again"
        )
    return f"nothing to resume in {folder}: starting a new run"
