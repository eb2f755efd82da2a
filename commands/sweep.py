"""Try settings of a training, each in a run of its own, and name the best.

SPACE is a YAML file with a line per field:

    model.optimizer.lr: [0.01, 1.0, log]      between two bounds, on a logarithmic scale
    model.label_smoothing: [0.0, 0.2]         between two bounds; integers if both are
    data.batch_size: {choices: [32, 64]}      one of several values

Every trial is `oneforall fit` with a value per field, in runs/NAME/trial-001 and so on. Optuna (TPE) chooses the
values; if all fields have choices and --trials is enough, each combination is tried once. Trials are compared by the
config's checkpoint.monitor, and one that is worse than the median of those before, at the same epoch, is stopped.
Flags of fit may follow, such as --trainer.max_epochs 3, and hold for all trials. Trials write no report.html unless
--report true is among the flags; `oneforall report runs/NAME/trial-001` writes that of one.

The same command resumes a sweep that was stopped, at any moment, and prints the table of one that is done.
"""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from command_line.configs import find_config
from command_line.error_line import print_error
from command_line.mistakes import mistake_in
from command_line.paths import path_argument
from command_line.run_options import named_folder, wanted_folder
from utils import interruption

EXAMPLES = (
    "oneforall sweep quickstart/images.yaml sweeps/lr_and_decay.yaml --trials 8",
    "oneforall sweep cifar10/resnet20.yaml my_space.yaml --name first --trainer.max_epochs 10",
)

TAKES_FLAGS_OF_FIT = True


def add_arguments(parser: ArgumentParser) -> None:
    """Add what is trained, what is tried, and how often."""
    parser.add_argument(
        "config", type=path_argument, metavar="CONFIG", help="training config, a file or the name of a shipped one"
    )
    parser.add_argument(
        "space", type=path_argument, metavar="SPACE", help="search space, a file or the name of a shipped one"
    )
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="number of trials (default: 20)")
    parser.add_argument(
        "--name", metavar="NAME", help="name of the sweep: its folder is runs/NAME (default: CONFIG-SPACE)"
    )
    parser.add_argument("--no_pruning", action="store_true", help="train every trial to the end")


def run(options: Namespace) -> None:
    """Run the remaining trials, and print the table of all.

    Raises:
        ValueError: A mistake in the space or the flags; the message names file, line and field.
        OSError: A file does not exist.
        SystemExit: After a signal (130, 143), or if a trial was killed or none has a score (1).
    """
    from sweeps.space import read_space
    from sweeps.sweep import Plan, run_sweep

    config, space_file = find_config(options.config), find_config(options.space)
    space = read_space(space_file)
    _check(options, config, space)
    folder = wanted_folder(None, options.name) or named_folder(f"{config.stem}-{space_file.stem}")
    again, prune = shlex.join(["oneforall", *sys.argv[1:]]), not options.no_pruning
    plan = Plan(str(config), space_file, space, tuple(options.flags), folder, options.trials, prune, again)
    try:
        with interruption.signals_raise():
            interruption.defer(True)
            run_sweep(plan)
    except interruption.Interrupted as interrupted:
        print(f"\nstopped by {interrupted}; the trial in progress is saved\nresume:  {again}", flush=True)
        raise SystemExit(interrupted.exit_code) from None
    except RuntimeError as error:
        print_error(error)
        raise SystemExit(1) from None


def _check(options: Namespace, config: Path, space: Mapping[str, object]) -> None:
    """Raise ValueError for what is wrong with the arguments."""
    from sweeps.space import OF_THE_SWEEP

    if options.trials < 1:
        raise ValueError(f"--trials must be at least 1, got {options.trials}")
    if find_spec("optuna") is None:
        raise ValueError("optuna is not installed; pip install 'one-for-all[sweep]'")
    names = [flag.partition("=")[0].removeprefix("--").rstrip("+") for flag in options.flags if flag.startswith("--")]
    if "seeds" in names:
        raise ValueError(f"--seeds is a flag of fit: `oneforall fit --config {config} --seeds 0..4`")
    if taken := [name for name in names if name in OF_THE_SWEEP and name != "config"]:
        raise ValueError(f"--{taken[0]} is set by the sweep for each trial; leave it out (--name NAME names the sweep)")
    if twice := [name for name in names if name in space]:
        raise ValueError(f"--{twice[0]} is also in the search space; remove one of the two")
    if mistake := mistake_in(["fit", "--config", str(config), *options.flags]):
        raise ValueError(mistake)
