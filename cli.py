"""The command line: `oneforall fit | validate | test | predict`.

LightningCLI, to which this file adds what belongs to no single run of a Trainer: a folder for the run, `--resume`,
checkpoints that describe themselves, and errors that say what to do.
"""

import ctypes
import difflib
import importlib
import inspect
import itertools
import logging
import os
import pkgutil
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import architectures
import callbacks
import datamodules
import lightning_modules
from callbacks.best_checkpoint import BestCheckpoint
from callbacks.checkpoint_files import misfit, newest_sound_checkpoint, write_config_of
from callbacks.curves import Curves
from callbacks.model_size import network_of
from callbacks.predictions import Predictions
from callbacks.progress import default_progress
from callbacks.resume_checkpoint import ResumeCheckpoint
from callbacks.run_folder import (
    RunFolder,
    contents,
    default_name,
    evaluation_folder,
    newest_predictions,
    release_folder,
    training_folder,
    weights_in,
)
from callbacks.summary import Summary
from callbacks.test_metrics import TestMetrics, headline
from callbacks.text_outputs import TextOutputs
from callbacks.text_predictions import TextPredictions

PACKAGES = (architectures, callbacks, datamodules, lightning_modules)
DEBUG_VARIABLE = "ONEFORALL_DEBUG"
# What one invocation asks for and a saved config must not ask for again.
TRANSIENT = ("name", "run_dir", "resume", "ckpt_path", "output", "debug")
CONFIG_OPTIONS = ("--config", "-c")
HELP = re.compile(r"-h|--([\w.]+\.)?help(=.*)?")
USER_ERRORS = (ValueError, OSError, MisconfigurationException)


class ParserError(ValueError):
    """What jsonargparse says of a config or a flag, and the parser that knows the right names."""

    def __init__(self, message: str, parser: LightningArgumentParser):
        super().__init__(message)
        self.parser = parser


class Parser(LightningArgumentParser):
    """A parser whose mistakes are exceptions, told in one line by `main`."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)  # else --trainer.max_epoch passes for --trainer.max_epochs
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raises in place of printing the usage, all of it, and leaving."""
        raise ParserError(message, self) from ex


class OneForAllCLI(LightningCLI):
    """LightningCLI in which a run has one folder and a checkpoint is enough to go on from."""

    def __init__(self, args: list[str]):
        self.claimed: Path | None = None
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,  # RunFolder does it
                trainer_defaults={
                    "logger": [{"class_path": "callbacks.metrics_csv.MetricsCSV"}],
                    "enable_model_summary": False,  # summary.md has it
                },
                parser_class=Parser,
                auto_configure_optimizers=False,
                args=with_checkpoint_config(args),
            )
        except BaseException:
            if self.claimed and not self._has_trained():
                release_folder(self.claimed)
            raise

    def _has_trained(self) -> bool:
        return hasattr(self, "trainer") and self.trainer.global_step > 0

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
        self.run_dir = self._choose_run_dir(options)
        options.trainer.default_root_dir = str(self.run_dir)
        if self.subcommand != "fit":  # a logger keeps the record of the training, and W&B's wants a login for it
            options.trainer.logger = False
            return
        given = options.trainer.logger
        loggers = options.trainer.logger = [given] if hasattr(given, "class_path") else given
        for logger in loggers if isinstance(loggers, list) else []:
            if "save_dir" in logger.init_args and logger.init_args.save_dir in (None, "", "."):
                logger.init_args.save_dir = str(self.run_dir)

    def _choose_run_dir(self, options: Any) -> Path:
        if self.subcommand != "fit":
            return evaluation_folder(options.run_dir, options.name, options.ckpt_path, options.output)
        folder = Path(options.run_dir) if options.run_dir else Path("runs") / (options.name or self._default_name())
        if options.resume:
            options.ckpt_path = newest_sound_checkpoint(folder) or options.ckpt_path
        folder, claimed = training_folder(folder, resume=bool(options.resume), numbered=not options.run_dir)
        self.claimed = folder if claimed else None
        return folder

    def _default_name(self) -> str:
        options = self.config[self.subcommand]
        network = options.model.init_args.get("architecture", options.model)["class_path"]
        return default_name([str(path) for path in options.config or []], network)

    # --- the trainer -------------------------------------------------------------------------------------------

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self.trainer_defaults["callbacks"] = self._observers(self.config[self.subcommand])
        return super().instantiate_trainer(use_distributed_sampler=False, **kwargs)

    def _observers(self, options: Any) -> list[Callback]:
        observers: list[Callback] = [
            RunFolder(self.saved_config),
            Summary(),
            TestMetrics(),
            TextOutputs(),
            Predictions(options.output),
            TextPredictions(options.output),
        ]
        given = self.config_init[self.subcommand].trainer.callbacks
        has_bar = any(isinstance(each, ProgressBar) for each in (given if isinstance(given, list) else [given]))
        if options.trainer.enable_progress_bar is not False and not has_bar:
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
            if subcommand == "fit" and self._has_trained():  # not a user's mistake: show all of it
                raise RuntimeError(f"training failed after {self.trainer.global_step} steps: {error}") from error
            raise
        except RuntimeError as error:
            if told := misfit(self.config[subcommand].ckpt_path, error):
                raise ValueError(told) from error
            raise

    # --- what the user reads at the end ------------------------------------------------------------------------

    def before_fit(self) -> None:
        """Says where the run writes."""
        network = network_of(self.model)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        self._say(f"{type(network).__name__}, {parameters:,} parameters; run folder: {self.run_dir}")

    def after_fit(self) -> None:
        """Says where everything is and what to do next."""
        tests = [f"  oneforall test --ckpt_path {path}  # {what}" for path, what in weights_in(self.run_dir)]
        self._say(f"\nrun folder: {self.run_dir}", *(["next:", *tests] if tests else []))

    def after_test(self) -> None:
        """Prints the figures, what the run folder holds, and what to do next."""
        figures = headline(self.trainer.callback_metrics)
        predict = f"oneforall predict --ckpt_path {self.config[self.subcommand].ckpt_path} --data.predict_path PATH"
        self._say("", *([figures] if figures else []), f"run folder: {self.run_dir}", *contents(self.run_dir))
        self._say(f"next: {predict}")

    def after_predict(self) -> None:
        """Says where the predictions are."""
        self._say(f"predictions: {self.config[self.subcommand].output or newest_predictions(self.run_dir)}")

    @rank_zero_only
    def _say(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)


# --- configs -------------------------------------------------------------------------------------------------------


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
    if not args or args[0] not in LightningCLI.subcommands() or any(map(HELP.fullmatch, args)):
        return args
    for path in option_values(args, *CONFIG_OPTIONS):
        read_yaml(path)
    ckpt_paths = option_values(args, "--ckpt_path")
    if not ckpt_paths:
        if args[0] != "fit" and "--print_config" not in args:
            raise ValueError(
                f"oneforall {args[0]} needs a checkpoint: pass --ckpt_path runs/NAME/checkpoints/best.ckpt"
            )
        return args
    return [args[0], "--config", write_config_of(ckpt_paths[-1]), *args[1:]]


def option_values(args: list[str], *options: str) -> list[str]:
    """The values given by `--option value` and `--option=value` for any of the options, in the order of the command."""
    values: list[str] = []
    left = iter(args)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name in options:
            values += [value] if equals else itertools.islice(left, 1)
    return values


def read_yaml(path: str) -> Any:
    """The content of a config file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML; the message names the line.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"config {path} does not exist; see configs/ for those that come with the program")
    try:
        return yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config {path} is no valid YAML: {error}") from error


# --- errors --------------------------------------------------------------------------------------------------------


def explain(error: BaseException, args: list[str]) -> str:
    """An error as one line: what is wrong and, for a misspelt name, the nearest one and the file it stands in."""
    message = str(error) or type(error).__name__
    if "Parser key" in message or "Union subtypes" in message:
        message = objections(message)
    if not isinstance(error, USER_ERRORS):
        message = f"wandb: {message}; run `wandb login` once, or add --config configs/logger/wandb_offline.yaml"
    if isinstance(error, ParserError):
        message += suggestion(message, error.parser, args)
    return " ".join(message.split())


def objections(message: str) -> str:
    """What matters of jsonargparse's report on a value: the field, and what its types have to object.

    A Union reports for each member; the objections that name an option, a class or a value say most, those that just
    expected None say nothing.
    """
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    fields = dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message))
    noise = (
        r"Parser key|Expected a <class|Expected a path|Subtypes:|Errors:|Does not val|Given value|Problem with given"
    )
    told = dict.fromkeys(line for line in lines if not re.match(noise, line))
    if not told:
        expected = dict.fromkeys(re.findall(r"Expected a <class '([^']+)'>", message))
        given = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Given value:")), "nothing")
        told = {f"expected {' or '.join(expected) or 'another value'}, got {given}": None}
    return ": ".join([*fields, "; ".join(told)])


def suggestion(message: str, parser: LightningArgumentParser, args: list[str]) -> str:
    """` (in FILE); did you mean X?` for the first name in the message that is like one that exists."""
    misspelt = re.findall(r"(?:unrecognized arguments: -*|[Oo]ption '|import path string: )([\w.]+)", message)
    known = known_names(parser)
    for name in misspelt:
        last = name.rsplit(".", 1)[-1]
        files = [path for path in option_values(args, *CONFIG_OPTIONS) if mentions(read_yaml(path), last)]
        where = f" (in {files[-1]})" if files else ""
        near = difflib.get_close_matches(name, known, 1, 0.7) or difflib.get_close_matches(last, known, 1, 0.7)
        if near:
            return f"{where}; did you mean {near[0]}?"
        if where:
            return where
    return "; `oneforall fit --help` lists what there is"


def mentions(config: Any, name: str) -> bool:
    """Whether `name` stands anywhere in a config, as a key or as a value."""
    if isinstance(config, dict):
        return any(key == name or mentions(value, name) for key, value in config.items())
    if isinstance(config, list):
        return any(mentions(value, name) for value in config)
    return config == name


def known_names(parser: LightningArgumentParser) -> list[str]:
    """Every option of the parser and its subcommands, and every class here with the names of its parameters."""
    names = set()
    for action in parser._actions:
        names |= {action.dest, action.dest.rsplit(".", 1)[-1]}
        for subparser in action.choices.values() if isinstance(action.choices, dict) else []:
            names |= set(known_names(subparser))
    for package in PACKAGES:
        for module_name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
            for name, value in inspect.getmembers(sys.modules[module_name], inspect.isclass):
                if value.__module__ == module_name and not issubclass(value, BaseException):
                    names |= {name, *inspect.signature(value.__init__).parameters}
    return sorted(names)


# --- the program -----------------------------------------------------------------------------------------------


def quieten() -> None:
    """Leaves out what Lightning says at every start and nobody can act on."""
    for text in ("LightningCLI's args", ".*LeafSpec", "The number of training batches", ".*does not have many workers"):
        warnings.filterwarnings("ignore", message=text)
    hints = ("litlogger", "LitLogger", "estimate number of stepping batches")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(lambda record: not any(hint in record.getMessage() for hint in hints))


def keep_freed_memory() -> None:
    """Has glibc keep what tensors free, for the next ones.

    Otherwise a tensor above 32 MB goes back to the system, and the next of its size is a fresh mapping whose every page
    faults and is zeroed: over half the CPU time of a test of MobileNetV2 (results/LOG.md). Only glibc has `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def user_errors() -> tuple[type[Exception], ...]:
    """What the user can mend; W&B's errors (no login, no network) too, where a logger has imported it."""
    theirs = getattr(sys.modules.get("wandb"), "Error", None)
    return (*USER_ERRORS, theirs) if theirs else USER_ERRORS


def import_packages() -> None:
    """Imports every module of the four packages, which makes bare class names resolve in configs and flags."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def main(args: list[str] | None = None) -> None:
    """Runs the command line; a user's mistake ends in one line and exit code 2."""
    args = sys.argv[1:] if args is None else args
    quieten()
    keep_freed_memory()
    import_packages()
    try:
        OneForAllCLI(args)
    except user_errors() as error:
        debug = any(value.lower() != "false" for value in option_values([*args, ""], "--debug"))
        if debug or os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"oneforall: error: {explain(error, args)}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
