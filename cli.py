"""The command line: `oneforall fit | validate | test | predict`.

It extends LightningCLI with everything outside a single run of the Trainer: the run folder, `--resume` (see
`callbacks/run/resume.py`), and checkpoints that describe themselves (`utils/trust.py` limits what they may do).
`command_line/` has the parser, the search for configs and the explanation of errors; `commands/` has the commands that
run no Trainer, such as `oneforall export`.
"""

import sys

if __name__ == "__main__":  # help and mistakes are answered before the imports below, which take seconds
    from command_line.start import main as start

    start()
    sys.exit()

import shlex
import warnings
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from callbacks.non_finite import NonFinite, NonFiniteError
from callbacks.plots.curves import Curves
from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.folder_contents import contents
from callbacks.run.observers import observers
from callbacks.run.outcome import interrupted_outcome, outcome, tracked, uses
from callbacks.run.resume import checkpoint_to_resume
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.run_folder import (
    evaluation_folder,
    lock_run,
    newest_predictions,
    release_folder,
    training_folder,
    weights_in,
)
from callbacks.run.saved_position import is_finished
from callbacks.run.sections import SECTIONS
from callbacks.run.summary import repeatable
from callbacks.run.test_metrics import headline
from callbacks.run.test_table import table_of_test
from callbacks.trackers.test_figures import add_trackers_of
from command_line import slurm
from command_line.carried_configs import resolved_config, with_checkpoint_config, with_run_config
from command_line.configs import BASE, forget, given_configs, with_found_configs
from command_line.error_line import print_error, wants_traceback
from command_line.errors import explain, user_errors
from command_line.help_pages import help_option, with_full_help
from command_line.invocation import with_checkpoint_flag, with_invocation_last
from command_line.mistakes import without_checkpoint
from command_line.open_fields import fill_open_fields, fill_open_precision, given_fields
from command_line.parser import Parser
from command_line.paths import checkpoint_file, expand_flags, expand_home, with_checkpoint_files
from command_line.process import import_packages, prepare_process
from command_line.resume_changes import accepted_changes
from command_line.run_checks import check_callbacks, check_data_fits_model, check_trainer_settings
from command_line.run_options import RUN_OPTIONS, default_name, named_folder, wanted_folder
from command_line.split_changes import warn_of_other_split
from command_line.start import answer_early
from command_line.streams import mend_streams
from command_line.trainer import AutoPrecisionTrainer
from command_line.watch import watch_processes
from lightning_modules.training_module import check_optimizer
from reports.run_report import report_after
from utils import interruption
from utils.checkpoint_io import WholeFileIO
from utils.checkpoints import explain_restore, read_config
from utils.contracts import network_of
from utils.lock import FolderLock
from utils.lost_processes import LostProcessError, leave_note, settle_with_others
from utils.trust import PACKAGES


class OneForAllCLI(LightningCLI):
    """LightningCLI in which a run has one folder, and a checkpoint is all that is needed to continue."""

    def __init__(self, args: list[str]):
        self.claimed: Path | None = None
        self.lock: FolderLock | None = None  # held until the process ends
        self.changes: list[str] = []
        self.given_configs = given_configs(args)
        if not help_option(args):
            args = with_checkpoint_config(with_run_config(with_found_configs(with_invocation_last(args))))
        self.whole_command = args
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,  # RunFolder does it
                trainer_class=AutoPrecisionTrainer,
                trainer_defaults={
                    "logger": [{"class_path": "callbacks.run.metrics_csv.MetricsCSV"}],
                    "enable_model_summary": False,  # summary.md has it
                },
                parser_class=Parser,
                auto_configure_optimizers=False,
                args=args,
            )
        except BaseException:
            if self.claimed and not self._has_trained():
                release_folder(self.claimed)
            raise

    def _has_trained(self) -> bool:
        return hasattr(self, "trainer") and self.trainer.global_step > 0

    # --- parsing -----------------------------------------------------------------------------------------------

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the command that is given, alone: Lightning builds a parser for each, which takes its time."""
        known = LightningCLI.subcommands()
        return {name: skipped for name, skipped in known.items() if [name] == self.whole_command[:1]} or known

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed, the only one on the command line."""
        parser.add_argument("--seed_everything", type=int, default=0, help="Seed for everything random in the run.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the run and its folder."""
        run = parser.add_argument_group("The run and its folder")
        switch: dict[str, Any] = {"nargs": "?", "const": True, "type": bool | None}
        for name, value, text in RUN_OPTIONS:
            run.add_argument(f"--{name}", help=text, **({"type": str | None} if value else switch))
        run.add_argument(f"--{BASE}", type=forget, help=SUPPRESS)  # only for config files
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(ResumeCheckpoint, "resume_checkpoint")
        parser.add_lightning_class_args(NonFinite, "non_finite")
        parser.add_lightning_class_args(Curves, "curves")
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})  # Lightning's table of all metrics: ours is smaller
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, expand `~` in what a config says, and refuse settings that cannot work."""
        super().parse_arguments(parser, args)
        options = self.config[self.config.subcommand] = expand_home(self.config[self.config.subcommand])
        if options.get("ckpt_path"):
            options.ckpt_path = checkpoint_file(options.ckpt_path)
        elif self.config.subcommand != "fit":
            raise ValueError(without_checkpoint(self.config.subcommand))
        check_trainer_settings(options.trainer)

    def _parse_ckpt_path(self) -> None:
        """Do nothing: `with_checkpoint_config` has put the checkpoint's config before all others."""

    # --- the run folder ----------------------------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        """Choose the run folder, and give it to the Trainer and the loggers."""
        options = self.config[self.subcommand]
        earlier: dict[str, Any] | None = None
        if self.subcommand == "fit":
            check_optimizer(options.model)
            earlier = self._checkpoint_to_resume(options)
            fill_open_fields(options, given_fields(self.whole_command), earlier)
        fill_open_precision(options, earlier)
        self.saved_config = resolved_config(self._parser(self.subcommand), options)
        if earlier is not None:
            same_folder = Path(options.ckpt_path).absolute().parent.parent == self._fit_folder(options).absolute()
            self.changes = accepted_changes(earlier, self.saved_config, options.ckpt_path, SECTIONS, same_folder)
        self.run_dir = self._choose_run_dir(options)
        options.trainer.default_root_dir = str(self.run_dir)
        if self.subcommand != "fit":  # a logger records training; TestFigures sends a test's figures
            if self.subcommand != "predict" or not options.data.init_args.get("predict_path"):
                warn_of_other_split(read_config(options.ckpt_path), self.saved_config)
            options.trainer.logger = False
            # An evaluation does not need the states of callbacks that only a fit has
            warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
            return
        given = options.trainer.logger
        loggers = options.trainer.logger = [given] if hasattr(given, "class_path") else given
        for logger in loggers if isinstance(loggers, list) else []:
            if "save_dir" in logger.init_args and logger.init_args.save_dir in (None, "", "."):
                logger.init_args.save_dir = str(self.run_dir)

    def _choose_run_dir(self, options: Any) -> Path:
        if self.subcommand != "fit":
            return evaluation_folder(wanted_folder(options.run_dir, options.name), options.ckpt_path, options.output)
        folder = self._fit_folder(options)
        folder, claimed = training_folder(folder, resume=bool(options.resume), numbered=not options.run_dir)
        self.claimed = folder if claimed else None
        if claimed:
            self.lock = lock_run(folder)
        return folder

    def _fit_folder(self, options: Any) -> Path:
        """Return the folder that a fit asks for."""
        return wanted_folder(options.run_dir, options.name) or named_folder(self._default_name())

    def _checkpoint_to_resume(self, options: Any) -> dict[str, Any] | None:
        """Lock the folder of `--resume`, and return the config of the checkpoint that a fit continues, if any."""
        folder = self._fit_folder(options)
        if options.resume:
            self.lock = lock_run(folder)
            newest, report = checkpoint_to_resume(folder)
            self._print(report)
            options.ckpt_path = newest or options.ckpt_path
        return read_config(options.ckpt_path, to_resume=True) if options.ckpt_path else None

    def _default_name(self) -> str:
        model = self.config[self.subcommand].model
        return default_name(self.given_configs, model.init_args.get("architecture", model)["class_path"])

    # --- the trainer -------------------------------------------------------------------------------------------

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return a Trainer with the callbacks that every run has."""
        self.trainer_defaults["callbacks"] = self._observers(self.config[self.subcommand])
        kwargs["plugins"] = slurm.with_environment(self.config_init[self.subcommand].trainer)
        trainer = super().instantiate_trainer(use_distributed_sampler=False, **kwargs)
        slurm.check_tasks(trainer)
        if self.config[self.subcommand].get("resume"):
            add_trackers_of(self.run_dir, trainer)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeFileIO()
        # Lightning's own handler broadcasts inside the handler, while other processes may be in a collective
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
        # Before each step Lightning broadcasts what that handler has noted, which makes every process wait
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        return trainer

    def _observers(self, options: Any) -> list[Callback]:
        given = self.config_init[self.subcommand].trainer.callbacks
        has_bar = any(isinstance(each, ProgressBar) for each in (given if isinstance(given, list) else [given]))
        progress = options.trainer.enable_progress_bar is not False and not has_bar
        return observers(self.saved_config, self.changes, options.output, progress)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        kwargs["weights_only"] = True  # a checkpoint is data: nothing in it may run
        if "return_predictions" in kwargs:
            kwargs["return_predictions"] = False  # they go to a file, batch by batch
        return kwargs

    def _run_subcommand(self, subcommand: str) -> None:
        check_data_fits_model(self.model, self.datamodule)
        check_callbacks(self.trainer.callbacks)  # type: ignore[attr-defined]
        try:
            super()._run_subcommand(subcommand)
            if subcommand != "fit" or not is_finished(self.trainer):
                interruption.raise_requested()  # after `max_time`, for example
        except interruption.Interrupted as interrupted:
            interrupted.saved_steps = self._resume_checkpoint().saved_steps(self.trainer)
            self._print(*self._after_interruption(interrupted))
            leave_note(self.trainer.global_rank, f"stopped by {interrupted}")
            if self.trainer.strategy.launcher is not None:
                self.trainer.strategy.launcher.kill(interrupted.signal)  # the other processes, if this one started any
            raise
        except Exception as error:
            settle_with_others(self.trainer, error)
            if isinstance(error, ValueError) and subcommand == "fit" and self._has_trained():  # not a user's mistake
                raise RuntimeError(f"training failed after {self.trainer.global_step} steps: {error}") from error
            if explanation := explain_restore(self.config[subcommand].ckpt_path, error):
                raise ValueError(explanation) from error
            raise

    # --- what the user reads -----------------------------------------------------------------------------------

    def before_fit(self) -> None:
        """Print where the run writes."""
        network = network_of(self.model)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        self._print(f"{type(network).__name__}, {parameters:,} parameters; run folder: {self.run_dir}")

    def after_fit(self) -> None:
        """Print the outcome, where everything is and what to do next."""
        self._report()
        tests = [
            f"  oneforall test --ckpt_path {shlex.quote(str(path))}  # {what}"
            for path, what in weights_in(self.run_dir)
        ]
        where = [f"run folder: {self.run_dir}", *tracked(self.trainer)]
        self._print(*outcome(self.trainer), "", *where, *(["next:", *tests] if tests else []))

    def after_validate(self) -> None:
        """Print the figures."""
        metrics = self.trainer.callback_metrics
        loss = f"loss {float(metrics['val/loss']):.4g}" if "val/loss" in metrics else ""
        self._print("val " + ", ".join(filter(None, [headline(metrics, "val").removeprefix("val "), loss])))

    def after_test(self) -> None:
        """Print the figures, what the run folder holds, and what to do next."""
        self._report()
        metrics = self.trainer.callback_metrics
        figures = ["", *table_of_test(metrics), "", *filter(None, [headline(metrics)])]
        after = ["next:", *uses(self.model, str(self.config[self.subcommand].ckpt_path))]
        self._print(*figures, f"run folder: {self.run_dir}", *contents(self.run_dir), *after)

    def after_predict(self) -> None:
        """Print where the predictions are."""
        self._print(f"predictions: {self.config[self.subcommand].output or newest_predictions(self.run_dir)}")

    def _after_interruption(self, interrupted: interruption.Interrupted) -> list[str]:
        if self.subcommand != "fit" or not any((self.run_dir / "checkpoints").glob("*.ckpt")):
            return [f"\nstopped by {interrupted}"]
        again = ["oneforall", *repeatable(sys.argv[1:]), "--run_dir", str(self.run_dir), "--resume"]
        return interrupted_outcome(self.trainer, interrupted, shlex.join(again))

    @rank_zero_only
    def _report(self) -> None:
        if self.config[self.subcommand].report is not False:
            report_after(self.run_dir)

    def _resume_checkpoint(self) -> ResumeCheckpoint:
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return next(each for each in callbacks if isinstance(each, ResumeCheckpoint))

    @rank_zero_only
    def _print(self, *lines: str) -> None:
        print(*lines, sep="\n", flush=True)


def main(args: list[str] | None = None) -> None:
    """Run the command line; a user's mistake ends in one line and exit code 2, diverged training in exit code 1."""
    if args is None:
        args = sys.argv[1:]
    mend_streams()
    answer_early(args)
    prepare_process()
    watch_processes()
    args = expand_flags(with_full_help(args))
    try:
        with interruption.signals_raise():
            try:
                import_packages(PACKAGES)
                args = with_checkpoint_files(with_checkpoint_flag(args))
                OneForAllCLI(args)
            except interruption.Interrupted as interrupted:
                sys.exit(slurm.leave(interrupted))
    except interruption.Interrupted as interrupted:  # a second one
        sys.exit(interrupted.exit_code)
    except (NonFiniteError, LostProcessError, MemoryError) as error:
        if wants_traceback(args):
            raise
        print_error(error)
        sys.exit(1)  # the run failed, not the command
    except user_errors() as error:
        if wants_traceback(args):
            raise
        print_error(explain(error, args, PACKAGES))
        sys.exit(2)
