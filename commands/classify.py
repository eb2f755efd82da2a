"""Name what is in images, with the image classifier of a checkpoint.

On a terminal, each image is shown with its most probable classes and bars; in a pipe, it gets one line: the path, then
classes and probabilities in turn, separated by tabs. An image that cannot be read is reported, and the others are still
answered; the exit code is then 2.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from command_line.error_line import print_error
from command_line.model_arguments import add_checkpoint, add_device
from command_line.paths import path_argument
from utils.file_names import readable

if TYPE_CHECKING:
    from oneforall import Prediction

EXAMPLES = (
    "oneforall classify --ckpt_path runs/NAME cat.jpg dog.jpg",
    "oneforall classify --ckpt_path runs/NAME --top 1 photos/ | cut -f 1,2",
)
BATCH = 64
"""Number of images decoded and classified at once."""

BAR = 30
"""Length of the bar of probability 1, in characters."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the checkpoint, the images and the form of the answers."""
    parser.add_argument(
        "images", nargs="+", type=path_argument, metavar="IMAGE", help="an image file, or a folder of images"
    )
    add_checkpoint(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="number of classes per image (default: 5)")
    parser.add_argument("--format", choices=("bars", "tsv"), help="default: bars on a terminal, tsv elsewhere")
    add_device(parser)


def run(options: Namespace) -> None:
    """Print the classes of each image.

    Raises:
        SystemExit: With 2, after all others are answered, if an image cannot be read.
        ValueError: There is no image, or the checkpoint holds no image classifier.
        OSError: There is no checkpoint.
    """
    if options.top < 1:
        raise ValueError(f"--top must be at least 1, got {options.top}")
    from oneforall import ImageModel, load

    model = load(options.ckpt_path, options.device, options.trust_checkpoint)
    if not isinstance(model, ImageModel):
        raise ValueError(f"{model.path} holds a model for text: use `oneforall translate`")
    files = list(image_files(options.images))
    bars = options.format == "bars" or (options.format is None and sys.stdout.isatty())
    failed = False
    for first in range(0, len(files), BATCH):
        paths = files[first : first + BATCH]
        for path, answer in zip(paths, model.predict_readable(paths), strict=True):
            if isinstance(answer, str):
                failed = True
                sys.stdout.flush()
                print_error(answer)
            else:
                best = answer[: options.top]
                print(*([readable(path), *bar_lines(best)] if bars else [tsv_line(path, best)]), sep="\n")
    if failed:
        sys.exit(2)


def image_files(given: Sequence[str]) -> Iterator[Path]:
    """Yield the images that a command line names, in its order; for a folder, those below it.

    Raises:
        ValueError: A folder holds none.
    """
    from datamodules.images.listing import list_images

    for path in map(Path, given):
        below = list_images(path).paths if path.is_dir() else [path]
        if not below:
            raise ValueError(f"{readable(path)} contains no images that can be read")
        yield from below


def tsv_line(path: Path, best: Sequence[Prediction]) -> str:
    """Return the path, then classes and probabilities in turn, separated by tabs; a tab in a name becomes a space."""
    cells = [readable(path), *(cell for each in best for cell in (each.name, f"{each.probability:.6f}"))]
    return "\t".join(" ".join(cell.split("\t")).replace("\n", " ") for cell in cells)


def bar_lines(best: Sequence[Prediction]) -> list[str]:
    """Return a line per class: its name, its probability and a bar of that length."""
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    width = max(len(each.name) for each in best)
    rows = ((each.name, each.probability, block * round(BAR * each.probability)) for each in best)
    return [f"  {name:<{width}}  {probability:6.1%}  {bar}".rstrip() for name, probability, bar in rows]
