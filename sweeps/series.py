"""The flags of `oneforall fit` that make it several runs: `--seeds 0..4` and `--batch_sizes 64..1024`."""

from __future__ import annotations

import shlex
from importlib import import_module

from command_line.configs import option_values, without
from command_line.error_line import print_error, wants_traceback
from command_line.paths import expand_flags
from command_line.start import SERIES
from utils import interruption


def run_series(args: list[str]) -> int:
    """Run the command once per seed or batch size, and return the exit code.

    Args:
        args: The command line, with one of the flags of `SERIES`.
    """
    args = expand_flags(args)
    flag = next(flag for flag in SERIES if option_values([*args, ""], flag))
    try:
        if not (given := option_values(args, flag)):
            raise ValueError(f"{flag} needs a value, such as {SERIES[flag].example}")
        with interruption.signals_raise():
            interruption.defer(True)
            code: int = import_module(SERIES[flag].module).run(args[0], without(args[1:], flag), given[-1])
            return code
    except interruption.Interrupted as interrupted:
        print(f"\nstopped by {interrupted}\nresume:  {shlex.join(['oneforall', *args])}", flush=True)
        return interrupted.exit_code
    except (ValueError, OSError) as error:
        if wants_traceback(args):
            raise
        print_error(error)
        return 2
