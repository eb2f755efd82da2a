"""The options of a run and its folder, for the parser and the help pages: names and texts. `cli.py` acts on them."""

from __future__ import annotations

from typing import NamedTuple


class RunOption(NamedTuple):
    """An option that all commands have.

    Attributes:
        name: Its name.
        value: What its value is, for a help page; empty for a switch, which is on where it is named.
        help: What it does.
    """

    name: str
    value: str
    help: str


RUN_OPTIONS = (
    RunOption("name", "NAME", "Name of the run: its folder is runs/NAME, or NAME-2, -3, ..."),
    RunOption("run_dir", "DIR", "The run folder itself, instead of runs/NAME."),
    RunOption(
        "resume",
        "",
        "Resume the run in its folder (--run_dir, or runs/NAME) from last.ckpt or, if that is damaged, previous.ckpt; "
        "start if the run has not trained yet.",
    ),
    RunOption(
        "output",
        "FILE",
        "Where `predict` writes (default: in the run folder); FILE.jsonl has the scores of generated text too.",
    ),
    RunOption("report", "", "`--report false` leaves out report.html, which `fit` and `test` write at their end."),
    RunOption("debug", "", "Show the traceback of an error."),
    RunOption(
        "trust_checkpoint",
        "",
        "Take the whole config of --ckpt_path, which may then run any code. Only for a checkpoint whose maker you "
        "trust.",
    ),
)
