"""The folder of a run: which one it is, and the config it keeps."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningModule, Trainer

from utils.checkpoints import FORMAT
from utils.files import write_text

RUN_DIR_VARIABLE = "ONEFORALL_RUN_DIR"  # tells the processes that Lightning starts for more GPUs which folder it is

# What stands in a run folder, in the words of someone who opens it for the first time.
CONTENTS = {
    "config.yaml": "the whole configuration; `oneforall fit --config` runs it again",
    "metrics.csv": "losses, scores and learning rate of every epoch",
    "checkpoints": "best.ckpt (best on validation), last.ckpt and previous.ckpt (for --resume)",
    "tokenizer.json": "the vocabulary, and how text is cut into it",
    "curves.png": "the same as metrics.csv, as plots",
    "confusion_matrix.png": "which classes are taken for which",
    "mistakes.png": "the surest wrong answers",
    "samples.md": "what the model wrote at each validation, beside what it should have written",
    "attention.png": "what it looked at as it wrote",
    "summary.md": "the run on one page: size, cost, scores, time, command",
    "test_metrics.json": "every test figure with all its digits",
    "test_hypotheses.txt": "what the model wrote for each test example, a line each",
    "test_outputs.jsonl": "the same with source, references and score",
}
WEIGHTS = {"best.ckpt": "the weights that did best on validation", "last.ckpt": "those at the end of training"}
PREDICTIONS = ("predictions.csv", "predictions.txt")  # of images, of text


def contents(folder: Path) -> list[str]:
    """One line for each thing that stands in the run folder."""
    return [f"  {name:<22}{what}" for name, what in CONTENTS.items() if (folder / name).exists()]


def weights_in(folder: Path) -> list[tuple[Path, str]]:
    """The checkpoints in the run folder that one may test, and what they are."""
    there = [(folder / "checkpoints" / name, what) for name, what in WEIGHTS.items()]
    return [(path, what) for path, what in there if path.is_file()]


def newest_predictions(folder: Path) -> Path | None:
    """The file in the run folder that `predict` wrote last; None where there is none."""
    there = [folder / name for name in PREDICTIONS if (folder / name).is_file()]
    return max(there, key=lambda path: path.stat().st_mtime_ns, default=None)


def default_name(configs: Sequence[str], network: str) -> str:
    """The name of a run that was given none.

    Args:
        configs: The config files of the command line; the first one's name is the run's, or, where it is the
            config.yaml of a run folder, that folder's.
        network: The class path of the network, after which a run without configs is named.
    """
    if not configs:
        return network.rsplit(".", 1)[-1].lower()
    first = Path(configs[0]).absolute()
    return first.parent.name if first.name == "config.yaml" else first.stem


def training_folder(wanted: Path, resume: bool, numbered: bool) -> tuple[Path, bool]:
    """The folder that `fit` writes into, and whether this process has just claimed it for a new run.

    Args:
        wanted: The folder asked for.
        resume: Whether to go on in exactly that folder.
        numbered: Whether a new run may have `wanted-2`, `-3`, ... where it is taken.

    Raises:
        OSError: As `claim_folder` and `make_folder`.
    """
    # RunFolder passes on what the first rank chose where no variable does
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return Path(os.environ.get(RUN_DIR_VARIABLE, wanted)), False
    if resume:
        make_folder(wanted)
        folder = wanted
    else:
        folder = claim_folder(wanted, numbered)
    os.environ[RUN_DIR_VARIABLE] = str(folder.absolute())
    return folder, not resume


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
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=1)  # else it writes into the folder, and to the terminal, as we leave
    if all(_written_before_training(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()):
        shutil.rmtree(folder, ignore_errors=True)


def _written_before_training(path: Path) -> bool:
    """Whether a file of a run folder, named from there, says nothing but that a run was about to begin."""
    return (
        path.name in ("config.yaml", "summary.md", "metrics.csv", "tokenizer.json")
        or path.name == "hparams.yaml"  # of TensorBoard and of Lightning's own CSV logger
        or path.name.startswith("events.out.tfevents.")
        or path.parts[0] == "wandb"
    )


def evaluation_folder(run_dir: str | None, name: str | None, ckpt_path: str, output: str | None = None) -> Path:
    """Where `validate`, `test` and `predict` write: the folder of the run that the checkpoint came from.

    Args:
        run_dir, name: The folder itself, or its name below runs/, where another is asked for.
        ckpt_path: The checkpoint.
        output: The file that predictions go to; the folder around it is made.

    Raises:
        OSError: A folder cannot be made or written to, or `output` is one.
    """
    if output:
        if Path(output).is_dir():
            raise IsADirectoryError(f"--output {output} is a folder: name a file in it")
        make_folder(Path(output).absolute().parent)
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
            write_text(Path(folder) / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["format"] = FORMAT
