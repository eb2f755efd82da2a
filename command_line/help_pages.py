"""Help pages of the options that most runs need, printed before any library is imported.

`--help.all` and the help pages of classes (`--model.help ImageClassifier`) are the parser's. Tests compare these pages
with it: every option of a page exists there, with the default that the page gives.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from command_line.configs import SHIPPED
from command_line.run_options import RUN_OPTIONS
from command_line.tools import TOOLS

COMMANDS = {
    "fit": "train",
    "validate": "score on the validation data",
    "test": "score on the test data",
    "predict": "predict images or a text file",
}
"""The commands that run a Trainer, and what each does."""

ALL = "--help.all"
"""The flag for the parser's own help page, which has every option."""

HELP = re.compile(r"-h|--([\w.]+\.)?help(\.all|=.*)?")
DEFAULT = re.compile(r"\(default: (\S+)\)")

WIDTH, COLUMN = 100, 34
"""Width of a page, and where its second column starts."""

Rows = list[tuple[str, str]]
"""Options, each with a name for its value, and what they do."""


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: What its options are about.
        rows: The options.
    """

    title: str
    rows: Rows


EXAMPLES = {
    "fit": (
        "oneforall fit --config quickstart/images.yaml",
        "oneforall fit --config cifar10/resnet18.yaml --config trainer/gpu.yaml --model.optimizer.lr 0.05",
        "oneforall fit --name resnet18 --resume",
    ),
    "validate": ("oneforall validate --ckpt_path runs/NAME",),
    "test": ("oneforall test --ckpt_path runs/NAME",),
    "predict": ("oneforall predict --ckpt_path runs/NAME --data.predict_path my_images/",),
}

CHECKPOINT: Rows = [
    ("--ckpt_path PATH", "A checkpoint, or a run folder: its best.ckpt, else its last.ckpt. It contains its config."),
]

CONFIG: Rows = [
    (
        "--config FILE",
        "A YAML file, or the name of a shipped one, such as cifar10/resnet20.yaml. Can be repeated: configs and flags "
        "apply from left to right, and the last one that sets a field wins.",
    ),
    ("--print_config", "Print the whole config, which can be run as it is, and exit."),
]

CONTINUED: Rows = [
    ("--ckpt_path PATH", "A checkpoint or run folder whose training a new run continues."),
    ("--seed_everything N", "Seed for everything random in the run (default: 0)."),
]

MODEL: Rows = [
    ("--model CLASS", "ImageClassifier, TextSeq2Seq or CharLanguageModel."),
    ("--model.architecture CLASS", "The network, such as ResNet; --model.architecture.depth 18 sets its field depth."),
    (
        "--model.optimizer CLASS",
        "The optimizer, such as Muon or torch.optim.SGD; --model.optimizer.lr sets its learning rate.",
    ),
    ("--model.schedule CLASS", "The learning rate schedule, such as WarmupCosine."),
    ("--model.init_from FILE", "Weights to start from: a checkpoint, .safetensors or .pth."),
]

DATA: Rows = [
    (
        "--data CLASS",
        "ImageFolderDataModule, CIFAR10DataModule, CIFAR100DataModule, MNISTDataModule, FashionMNISTDataModule, "
        "SVHNDataModule, DigitsDataModule, HFDatasetDataModule, TextSeq2SeqDataModule or CharTextDataModule.",
    ),
    ("--data.batch_size N", "Images per batch and process; for text, use --data.batch_tokens."),
]

PREDICTED: Rows = [
    ("--data.predict_path PATH", "A folder of images, a text file or a table; if omitted, the test data."),
]

GENERATED: Rows = [
    ("--model.num_beams N", "Number of hypotheses in beam search; 1 is greedy."),
    (
        "--model.do_sample true",
        "Sample instead; needs --model.num_beams 1. Adjust with --model.top_k, top_p and temperature.",
    ),
    ("--model.max_length N", "Maximum length of a text in tokens; --model.min_length its minimum."),
]

SEVERAL: Rows = [
    ("--model.num_return_sequences N", "Number of texts per source, with scores, in predictions.jsonl."),
]

DEVICES: Rows = [
    ("--trainer.accelerator NAME", "cpu, gpu or mps (default: auto)."),
    ("--trainer.devices N", "Number of devices, with one process each (default: auto)."),
    (
        "--trainer.precision NAME",
        "32-true, bf16-mixed, ... or auto: bf16-mixed where it is faster; if null, 32-true (default: null).",
    ),
]

TRAINING: Rows = [
    ("--trainer.max_epochs N", "Number of epochs (default: null)."),
    ("--trainer.max_steps N", "Number of optimizer steps, -1 for no limit (default: -1)."),
    ("--trainer.max_time DD:HH:MM:SS", "Time after which training stops (default: null)."),
    ("--trainer.accumulate_grad_batches N", "Batches per optimizer step (default: 1)."),
    ("--trainer.gradient_clip_val X", "Maximum norm of the gradient; if null, no limit (default: null)."),
    ("--trainer.limit_train_batches N", "Number or fraction of the batches of an epoch to use (default: null)."),
    ("--trainer.callbacks+ CLASS", "Add a callback, such as EMA or EarlyStopping."),
    ("--trainer.logger+ CLASS", "Add a logger; --config logger/wandb.yaml adds Weights & Biases."),
]

SAVING: Rows = [
    ("--checkpoint.monitor METRIC", "The metric that best.ckpt is chosen by (default: val/accuracy)."),
    ("--checkpoint.mode max|min", "Whether its best value is the maximum or the minimum (default: max)."),
    ("--resume_checkpoint.every_n_seconds X", "Minimum time between two checkpoints, in seconds (default: 60.0)."),
    ("--non_finite.action stop|skip", "What to do if the loss is not finite (default: stop)."),
    ("--curves.every_n_seconds X", "Minimum time between two updates of curves.png, in seconds (default: 20.0)."),
]


def help_option(args: list[str]) -> str | None:
    """Return the first option of a command line that asks for a help page; None without one. A value asks for none."""
    return next(filter(HELP.fullmatch, args), None)


def page_asked_for(args: list[str]) -> str | None:
    """Return the page that a command line asks for; None if it asks for none, or for one of the parser's."""
    if args[:1] in (["-h"], ["--help"], [ALL]):
        return overview()
    return page(args[0]) if args[:1] and args[0] in COMMANDS and help_option(args) in ("-h", "--help") else None


def with_full_help(args: list[str]) -> list[str]:
    """Return a command line as the parser knows it: `--help.all` is its `--help`."""
    return ["--help" if arg == ALL else arg for arg in args]


def overview() -> str:
    """Return the help page of the program: its commands, examples, and where configs are."""
    return "\n".join(
        [
            "usage: oneforall COMMAND [OPTIONS]",
            "",
            "Train and use neural networks for images and text. Commands:",
            "",
            *(f"  {name:<12}{what}" for name, what in (COMMANDS | TOOLS).items()),
            "",
            "For example (the first one trains for two minutes and downloads nothing):",
            "",
            *(f"  {EXAMPLES[command][0]}" for command in ("fit", "test", "predict")),
            "",
            "A config is a YAML file that says what to train. `oneforall configs` lists the shipped ones, which are in",
            f"  {SHIPPED}",
            "",
            "`oneforall COMMAND --help` explains a command, `oneforall --version` prints the version,",
            "`oneforall --print_shtab bash` (or zsh, tcsh) prints a completion script for the shell.",
        ]
    )


def page(command: str) -> str:
    """Return the help page of a command."""
    return "\n".join(_page(command))


def rows(command: str) -> Rows:
    """Return the options of a command's page."""
    return [row for section in _sections(command) for row in section.rows]


def flags(command: str) -> list[str]:
    """Return the names of the options of a command's page."""
    return [name.split()[0] for name, _ in rows(command)]


def defaults(command: str) -> dict[str, str]:
    """Return the defaults that a command's page gives, by option."""
    found = {name.split()[0]: DEFAULT.search(text) for name, text in rows(command)}
    return {flag: default[1] for flag, default in found.items() if default}


def _sections(command: str) -> list[Section]:
    """Return the sections of a command's page: what most runs need comes first."""
    own = {"fit": {"resume", "report"}, "test": {"report"}, "predict": {"output"}}.get(command, set())
    alien = {"resume", "report", "output"} - own
    run = [(f"--{name} {value}".rstrip(), text) for name, value, text in RUN_OPTIONS if name not in alien]
    if command == "fit":
        return [
            Section("What to run", CONFIG),
            Section("The run and its folder", [*run, *CONTINUED]),
            Section("The model: fields of the class that the config names", MODEL),
            Section("The data: fields of the class that the config names", DATA),
            Section("Training", [*TRAINING, *DEVICES]),
            Section("Checkpoints and curves", SAVING),
        ]
    used = "val" if command == "validate" else command
    limit = (f"--trainer.limit_{used}_batches N", "Number or fraction of the batches to use (default: null).")
    generated = [*GENERATED, *(SEVERAL if command == "predict" else [])]
    return [
        Section("What to run", [*CHECKPOINT, *(PREDICTED if command == "predict" else []), *CONFIG]),
        Section("The run and its folder", run),
        *([] if command == "validate" else [Section("Text generation", generated)]),
        Section("Devices", [*DEVICES, limit]),
    ]


def _page(command: str) -> Iterator[str]:
    yield f"usage: oneforall {command} [--config FILE ...] [--FIELD VALUE ...]"
    yield from ("", f"{COMMANDS[command].capitalize()}. For example:", "")
    yield from (f"  {example}" for example in EXAMPLES[command])
    for section in _sections(command):
        yield from ("", f"{section.title}:")
        for name, text in section.rows:
            yield from _row(name, text)
    yield from ("", "More:")
    yield from _row(f"oneforall {command} {ALL}", "Every option.", 54)
    yield from _row(f"oneforall {command} --model.help ImageClassifier", "Fields of a class; likewise --data.help.", 54)
    if command in ("fit", "test"):
        yield from _row(f"oneforall {command} ... --seeds 0..4", "One run per seed, then mean and spread.", 54)
    if command == "fit":
        yield from _row(f"oneforall {command} ... --batch_sizes 64..1024", "The speed of each size that fits.", 54)


def _row(name: str, text: str, column: int = COLUMN) -> Iterator[str]:
    """Yield the lines of an option, in the first column, and its text, wrapped, in the second."""
    lines = textwrap.wrap(text, WIDTH - column)
    if len(name) > column - 4:
        yield f"  {name}"
    else:
        yield f"  {name:<{column - 2}}{lines.pop(0)}"
    yield from (f"{'':{column}}{line}" for line in lines)
