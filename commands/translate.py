"""Translate texts, or whatever else the text-to-text model of a checkpoint was trained to do with them.

Without TEXT, standard input is answered line by line: one line of output per line of input, as soon as it arrives, and
an empty one for a blank one. On a terminal it prompts; Ctrl-D ends it. The task's prefix comes from the checkpoint, and
so do decoding options that are not given.
"""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import TYPE_CHECKING, TextIO, cast

from command_line.model_arguments import add_checkpoint, add_device

if TYPE_CHECKING:
    from utils.batches import ScoredText

EXAMPLES = (
    'oneforall translate --ckpt_path runs/NAME "A man is sleeping."',
    "oneforall translate --ckpt_path runs/NAME < english.txt > german.txt",
    'oneforall translate --ckpt_path runs/NAME --num_return_sequences 3 "Two dogs play."',
)
BATCH = 32
"""Maximum number of lines that are answered at once."""

DECODING: dict[str, tuple[type, str]] = {
    "num_beams": (int, "number of hypotheses in beam search; 1 is greedy"),
    "num_return_sequences": (int, "number of texts per source, with scores: the best ones, or independent samples"),
    "max_length": (int, "maximum length of a text in tokens, including the end token"),
    "min_length": (int, "minimum length of a text in tokens, including the end token"),
    "length_penalty": (float, "scores are divided by the length to this power: larger values favour long texts"),
    "no_repeat_ngram_size": (int, "size of n-grams of tokens that may occur only once in a text; 0 allows all"),
    "top_k": (int, "sample from the k most probable tokens; 0 for all"),
    "top_p": (float, "sample from the most probable tokens whose probabilities add up to this"),
    "temperature": (float, "divide log-probabilities by this before sampling"),
}
"""Decoding options with a value, as the fields of the model; the texts are for the help page."""

SWITCHES = {
    "do_sample": "sample each token instead of searching",
    "early_stopping": "end a beam search once it has num_beams complete texts",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the checkpoint, the texts, and the options of decoding."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a text; if omitted, the lines of standard input")
    add_checkpoint(parser)
    parser.add_argument("--prefix", help="text put before each source (default: that of the checkpoint's task)")
    parser.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help="text: one line per source or, with several texts per source, one line per text: number of the source, "
        "score and text, separated by tabs; jsonl: one object per source, as `predict` writes (default: text)",
    )
    add_device(parser)
    decoding = parser.add_argument_group("decoding (default: as in the checkpoint)")
    for name, (kind, text) in DECODING.items():
        value = "N" if kind is int else "X"
        decoding.add_argument(f"--{name}", type=kind, default=SUPPRESS, metavar=value, help=text)
    for name, text in SWITCHES.items():
        decoding.add_argument(f"--{name}", action=BooleanOptionalAction, default=SUPPRESS, help=text)
    decoding.add_argument("--seed", type=int, metavar="N", help="seed for sampling (default: that of the run)")


def run(options: Namespace) -> None:
    """Print what the model generates for each source.

    Raises:
        ValueError: An option is invalid, the input is not text, or the checkpoint holds no text-to-text model.
        OSError: There is no checkpoint, or nobody reads on.
    """
    from oneforall import TextModel, load

    model = load(options.ckpt_path, options.device, options.trust_checkpoint)
    if not isinstance(model, TextModel):
        raise ValueError(f"{model.path} holds an image classifier: use `oneforall classify`")
    changes = {name: value for name, value in vars(options).items() if name in (*DECODING, *SWITCHES)}
    several = changes.get("num_return_sequences", model.module.num_return_sequences) > 1
    number = 0
    with utf8_output() as output:
        for sources in batches(options.text):
            found = model.n_best(sources, prefix=options.prefix, seed=options.seed, first=number, **changes)
            for place, (source, texts) in enumerate(zip(sources, found, strict=True), number):
                output.writelines(f"{line}\n" for line in lines_of(options.format, several, place, source, texts))
            output.flush()
            number += len(sources)


def utf8_output() -> TextIO:
    """Return standard output as a text file in UTF-8, like all files, that fails once nobody reads it."""
    sys.stdout.flush()
    return os.fdopen(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False)


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the sources, in order: those of the command line, else those of standard input, as they arrive.

    Raises:
        ValueError: Standard input is closed, or not text.
    """
    if texts:
        arriving: Iterator[Sequence[str]] = iter([texts])
    elif sys.stdin is None:
        raise ValueError("there is no standard input: pass a TEXT")
    elif sys.stdin.isatty():
        arriving = typed_lines()
    else:
        from datamodules.text.arriving_lines import arriving_lines

        arriving = arriving_lines(cast(BufferedReader, sys.stdin.buffer).read1, "standard input")
    for lines in arriving:
        yield from (lines[first : first + BATCH] for first in range(0, len(lines), BATCH))


def typed_lines() -> Iterator[Sequence[str]]:
    """Yield what is typed at a prompt, until Ctrl-D; arrow keys edit, and bring back earlier lines."""
    with contextlib.suppress(ImportError):  # a Python built without it
        import readline as readline  # `input` uses it once it is imported
    prompt = "> " if sys.stdout.isatty() else ""
    while True:
        try:
            yield [input(prompt)]
        except EOFError:
            print(file=sys.stderr)  # ends the line of the prompt
            return


def lines_of(form: str, several: bool, place: int, source: str, texts: Sequence[ScoredText]) -> list[str]:
    """Return the lines that answer a source.

    Args:
        form: `text` or `jsonl`.
        several: Whether there may be several texts per source.
        place: Number of the source, from 0.
        source: The source.
        texts: What was generated; nothing for a blank source.
    """
    from callbacks.predictions.text_predictions import json_line
    from callbacks.text_lines import one_line

    if form == "jsonl":
        return [json_line(place, source, texts)]
    if several:
        return [f"{place + 1}\t{score:.6g}\t{one_line(text)}" for text, score in texts]
    return [one_line(text) for text, _ in texts] or [""]
