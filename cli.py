"""The command line: `oneforall fit | validate | test | predict`.

LightningCLI, to which this file adds what belongs to no single run of a Trainer: a folder for the run, `--resume`,
checkpoints that describe themselves, and errors that say what to do.
"""

import difflib
import importlib
import inspect
import os
import pkgutil
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import architectures
import callbacks
import datamodules
import lightning_modules
from callbacks.best_checkpoint import BestCheckpoint
from callbacks.checkpoint_files import newest_sound_checkpoint, read_checkpoint
from callbacks.curves import Curves
from callbacks.metrics_csv import MetricsCSV
from callbacks.predictions import Predictions
from callbacks.progress import default_progress
from callbacks.resume_checkpoint import ResumeCheckpoint
from callbacks.run_folder import RunFolder, claim_folder, evaluation_folder, release_folder
from callbacks.summary import Summary
from callbacks.test_metrics import TestMetrics

DEBUG_VARIABLE = "ONEFORALL_DEBUG"
RUN_DIR_VARIABLE = "ONEFORALL_RUN_DIR"  # tells the processes that Lightning starts for more GPUs which folder it is
# What one invocation asks for and a saved config must not ask for again.
TRANSIENT = ("name", "run_dir", "resume", "ckpt_path", "output", "debug")
USER_ERRORS = (ValueError, OSError, MisconfigurationException)


class Parser(LightningArgumentParser):
    """A parser whose mistakes are exceptions, told in one line by `main`."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)  # else --trainer.max_epoch passes for --trainer.max_epochs
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raises ValueError with the message in one line and the nearest name where one is misspelt."""
        raise ValueError(explain_parser_error(message, self)) from ex


class OneForAllCLI(LightningCLI):
    """LightningCLI in which a run has one folder and a checkpoint is enough to go on from."""

    def __init__(self, args: list[str]):
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,  # RunFolder does it
            trainer_defaults={"logger": [{"class_path": "callbacks.metrics_csv.MetricsCSV"}]},
            parser_class=Parser,
            auto_configure_optimizers=False,
            args=with_checkpoint_config(args),
        )

    # --- parsing -----------------------------------------------------------------------------------------------

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=int, default=0, help="The one seed of the run.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        run = parser.add_argument_group("The run and its folder")
        run.add_argument("--name", type=str | None, help="Name of the run: its folder is runs/NAME, or NAME-2, -3, ...")
        run.add_argument("--run_dir", type=str | None, help="The run's folder itself, in place of runs/NAME.")
        run.add_argument(
            "--resume",
            nargs="?",
            const=True,
            type=bool | None,
            help="Go on from the newest sound checkpoint in the run's folder; start where there is none.",
        )
        run.add_argument("--output", type=str | None, help="Where `predict` writes (default: in the run's folder).")
        run.add_argument("--debug", nargs="?", const=True, type=bool | None, help="Show the trace of an error.")
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(ResumeCheckpoint, "resume_checkpoint")
        parser.add_lightning_class_args(Curves, "curves")
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _parse_ckpt_path(self) -> None:
        """Nothing: `with_checkpoint_config` has put the checkpoint's config before all others."""

    # --- the run folder ----------------------------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        options = self.config[self.subcommand]
        self.saved_config = plain_config(self._parser(self.subcommand), options)
        self.claimed = False
        self.run_dir = self._choose_run_dir(options)
        options.trainer.default_root_dir = str(self.run_dir)
        for logger in options.trainer.logger if isinstance(options.trainer.logger, list) else []:
            if "save_dir" in logger.init_args and logger.init_args.save_dir in (None, "", "."):
                logger.init_args.save_dir = str(self.run_dir)
        if self.subcommand != "fit":  # metrics.csv is the record of the training
            self._drop_metrics_csv(options)

    def _choose_run_dir(self, options: Any) -> Path:
        if self.subcommand != "fit":
            return evaluation_folder(options.run_dir, options.name, options.ckpt_path)
        folder = Path(options.run_dir) if options.run_dir else Path("runs") / (options.name or self._default_name())
        if options.resume:
            options.ckpt_path = newest_sound_checkpoint(folder) or options.ckpt_path
        if rank_zero_only.rank != 0:  # RunFolder passes on what the first rank chose where no variable does
            return Path(os.environ.get(RUN_DIR_VARIABLE, folder))
        if options.resume:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = claim_folder(folder, numbered=not options.run_dir)
            self.claimed = True
        os.environ[RUN_DIR_VARIABLE] = str(folder.absolute())
        return folder

    def _default_name(self) -> str:
        options = self.config[self.subcommand]
        configs = [str(path) for path in options.config or [] if not str(path).endswith(CHECKPOINT_CONFIG_SUFFIX)]
        if configs:
            return Path(configs[0]).stem
        return str(options.model.init_args.get("architecture", options.model)["class_path"]).rsplit(".", 1)[-1].lower()

    @staticmethod
    def _drop_metrics_csv(options: Any) -> None:
        if isinstance(options.trainer.logger, list):
            kept = [logger for logger in options.trainer.logger if not logger.class_path.endswith(MetricsCSV.__name__)]
            options.trainer.logger = kept or False

    # --- the trainer -------------------------------------------------------------------------------------------

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        options = self.config[self.subcommand]
        self.trainer_defaults["callbacks"] = self._observers(options)
        return super().instantiate_trainer(use_distributed_sampler=False, **kwargs)

    def _observers(self, options: Any) -> list[Callback]:
        observers: list[Callback] = [
            RunFolder(self.saved_config),
            Summary(),
            TestMetrics(),
            Predictions(options.output),
        ]
        if options.trainer.enable_progress_bar is not False:
            observers.append(default_progress())
        return observers

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        kwargs["weights_only"] = True  # a checkpoint is data: nothing in it may run
        if "return_predictions" in kwargs:
            kwargs["return_predictions"] = False  # they go to a file, batch by batch
        return kwargs

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except ValueError as error:
            if self.trainer.global_step > 0 and subcommand == "fit":  # not a user's mistake: show all of it
                raise RuntimeError(f"training failed after {self.trainer.global_step} steps: {error}") from error
            raise
        finally:
            if self.claimed and self.trainer.global_step == 0:
                release_folder(self.run_dir)

    # --- what the user reads at the end ------------------------------------------------------------------------

    def after_fit(self) -> None:
        """Says where everything is and what to do next."""
        best = Path(self.run_dir) / "checkpoints" / "best.ckpt"
        chosen = best if best.exists() else best.with_name("last.ckpt")
        self._say(f"\nrun folder: {self.run_dir}", f"next: oneforall test --ckpt_path {chosen}")

    def after_test(self) -> None:
        """Prints the figures, what the run folder holds, and what to do next."""
        metrics = self.trainer.callback_metrics
        ckpt_path = self.config[self.subcommand].ckpt_path
        lines = [""]
        if "test/accuracy" in metrics:
            plain = f"test accuracy {metrics['test/accuracy']:.2%}"
            with_tta = metrics.get("test/accuracy_tta")
            lines.append(plain + (f" ({with_tta:.2%} with test-time augmentation)" if with_tta is not None else ""))
        lines += [f"run folder: {self.run_dir}", *contents(self.run_dir)]
        lines.append(f"next: oneforall predict --ckpt_path {ckpt_path} --data.predict_path PATH")
        self._say(*lines)

    def after_predict(self) -> None:
        """Says where the predictions are."""
        self._say(f"predictions: {self.config[self.subcommand].output or self.run_dir / 'predictions.csv'}")

    @rank_zero_only
    def _say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)


# What stands in a run folder, in the words of someone who opens it for the first time.
CONTENTS = {
    "config.yaml": "the whole configuration; `oneforall fit --config` runs it again",
    "metrics.csv": "loss, accuracy and learning rate of every epoch",
    "checkpoints": "best.ckpt (best on validation), last.ckpt and previous.ckpt (for --resume)",
    "curves.png": "the same as plots",
    "confusion_matrix.png": "which classes are taken for which",
    "mistakes.png": "the surest wrong answers",
    "summary.md": "the run on one page: size, cost, accuracy, time, command",
    "test_metrics.json": "every test figure with all its digits",
}


def contents(run_dir: Path) -> list[str]:
    """One line for each thing that stands in the run folder."""
    return [f"  {name:<22}{what}" for name, what in CONTENTS.items() if (run_dir / name).exists()]


# --- configs -------------------------------------------------------------------------------------------------------

CHECKPOINT_CONFIG_SUFFIX = ".checkpoint-config.yaml"


def plain_config(parser: LightningArgumentParser, options: Any) -> dict[str, Any]:
    """The resolved config as plain values, without what only this invocation asked for."""
    config = yaml.safe_load(parser.dump(options, skip_none=False, format="yaml"))
    for key in ("weights_only", "verbose", "return_predictions", "config"):
        config.pop(key, None)
    return {**config, **dict.fromkeys(TRANSIENT)}


def with_checkpoint_config(args: list[str]) -> list[str]:
    """Puts the config that a checkpoint carries before all configs and flags of the command line.

    Raises:
        ValueError: validate, test or predict without a checkpoint.
    """
    ckpt_path = option_value(args, "--ckpt_path")
    if not args or args[0] not in LightningCLI.subcommands() or "--help" in args or "-h" in args:
        return args
    if ckpt_path is None:
        if args[0] != "fit" and "--print_config" not in args:
            raise ValueError(
                f"oneforall {args[0]} needs a checkpoint: pass --ckpt_path runs/NAME/checkpoints/best.ckpt"
            )
        return args
    config = read_checkpoint(ckpt_path)["config"]
    with tempfile.NamedTemporaryFile("w", suffix=CHECKPOINT_CONFIG_SUFFIX, delete=False) as file:
        yaml.safe_dump(config, file, sort_keys=False)
    return [args[0], "--config", file.name, *args[1:]]


def option_value(args: list[str], option: str) -> str | None:
    """The value of the last `--option value` or `--option=value`."""
    value = None
    for position, argument in enumerate(args):
        if argument == option and position + 1 < len(args):
            value = args[position + 1]
        elif argument.startswith(f"{option}="):
            value = argument.split("=", 1)[1]
    return value


# --- errors --------------------------------------------------------------------------------------------------------


def one_line(error: BaseException) -> str:
    """The message of an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def explain_parser_error(message: str, parser: LightningArgumentParser) -> str:
    """One line out of jsonargparse's several: the field, what is wrong, and the nearest name that exists.

    jsonargparse lists what each member of a Union has to object; the objections that name an option or a class say
    most, those that just expected None say nothing.
    """
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    field = re.match(r'Parser key "([^"]+)"', message)
    objections = [line for line in lines[1:] if not re.match(r"Expected a <class|Subtypes:|Errors:|Does not val", line)]
    told = [line for line in objections if not line.startswith(("Given value", "Expected a path"))]
    given = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Given value:")), "")
    if field and told:
        text = f"{field[1]}: {'; '.join(dict.fromkeys(told))}"
    elif field:
        expected = [
            re.sub(r".*<class '([^']+)'>.*", r"\1", line) for line in lines if line.startswith("Expected a <class")
        ]
        text = f"{field[1]}: expected {' or '.join(dict.fromkeys(expected)) or 'another value'}, got {given}"
    else:
        text = "; ".join(lines)
    return text + suggestion(message, parser)


def suggestion(message: str, parser: LightningArgumentParser) -> str:
    """`; did you mean X?` for the first name in the message that is like one that exists, else nothing."""
    misspelt = re.findall(
        r"(?:unrecognized arguments: |[Oo]ption '|Key '|import path string: |either not accessible.*?)-*([\w.]+)",
        message,
    )
    known = known_names(parser)
    for name in misspelt:
        last = name.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(name, known, 1, 0.75) or difflib.get_close_matches(last, known, 1, 0.75)
        if near:
            return f"; did you mean {near[0]}?"
    return "; `oneforall fit --help` lists what there is"


def known_names(parser: LightningArgumentParser) -> list[str]:
    """Every option of the parser, and every class of this project with the names of its parameters."""
    names = {action.dest for action in parser._actions}
    names |= {dest.rsplit(".", 1)[-1] for dest in names}
    for package in (architectures, callbacks, datamodules, lightning_modules):
        for module_name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
            for name, value in inspect.getmembers(sys.modules[module_name], inspect.isclass):
                if value.__module__ == module_name and not issubclass(value, BaseException):
                    names |= {name, *inspect.signature(value.__init__).parameters}
    return sorted(names)


# --- the program -----------------------------------------------------------------------------------------------


def import_packages() -> None:
    """Imports every module of the four packages, which makes bare class names resolve in configs and flags."""
    for package in (architectures, callbacks, datamodules, lightning_modules):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def main(args: list[str] | None = None) -> None:
    """Runs the command line; a user's mistake ends in one line and exit code 2."""
    args = sys.argv[1:] if args is None else args
    import_packages()
    try:
        OneForAllCLI(args)
    except USER_ERRORS as error:
        if "--debug" in args or os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"oneforall: error: {one_line(error)}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
