"""Write a trained model in the format of another program: ONNX, torch.export, Hugging Face, CTranslate2.

What is written is compared with the checkpoint before it appears under its name. Image classifiers are exported as onnx
or pt2, T5 as hf or ctranslate2. The weights are those that `oneforall test` uses: with EMA, the averages.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from command_line.model_arguments import add_checkpoint
from command_line.paths import checkpoint_file, path_argument
from utils import interruption
from utils.files import atomic_folder, atomic_path, require_checkpoint, run_folder_of

if TYPE_CHECKING:
    from exports.exported import Exported
    from oneforall import ImageModel, TextModel

EXAMPLES = (
    "oneforall export --ckpt_path runs/resnet20 --format onnx",
    "oneforall export --ckpt_path runs/en-de --format ctranslate2 --quantization int8 --output en-de-int8",
)

IMAGES, TEXTS = ("onnx", "pt2"), ("hf", "ctranslate2")
"""Formats of image classifiers, each a file, and of T5, each a folder."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the checkpoint, the format and the target."""
    add_checkpoint(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=(*IMAGES, *TEXTS),
        help="an ONNX file, a torch.export file, a folder for Hugging Face's transformers, or a folder for CTranslate2",
    )
    parser.add_argument(
        "--output",
        type=path_argument,
        metavar="PATH",
        help="where to write; by default model.onnx, model.pt2, hf, ctranslate2 or ctranslate2-int8 in the run folder",
    )
    parser.add_argument(
        "--quantization",
        choices=("int8", "int16", "float16", "bfloat16"),
        help="type of the weights for CTranslate2 (default: float32)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an earlier export at the same path",
    )


def run(options: Namespace) -> None:
    """Write the export, and print its input and output, and how to run it.

    Raises:
        ValueError: The format is not for such a model, a package is missing, or the checkpoint cannot be used.
        OSError: The checkpoint does not exist, or the target exists or cannot be written.
        SystemExit: After a signal (130, 138, 143); nothing is written then.
    """
    if options.quantization and options.format != "ctranslate2":
        raise ValueError(f"--quantization is for --format ctranslate2, not for {options.format}; leave it out")
    checkpoint = Path(checkpoint_file(options.ckpt_path))
    require_checkpoint(checkpoint)
    target = (
        Path(options.output) if options.output else default_target(checkpoint, options.format, options.quantization)
    )
    check_target(target, options.format, options.overwrite)

    from oneforall import ImageModel, load  # takes seconds

    model = load(checkpoint, "cpu", options.trust_checkpoint)
    check_format(model, options.format)
    try:
        with interruption.signals_raise():
            exported = (
                write_images(model, target, options.format)
                if isinstance(model, ImageModel)
                else write_texts(model, target, options.format, options.quantization, options.overwrite)
            )
    except interruption.Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None
    print(*report(exported, target), sep="\n")


def default_target(checkpoint: Path, format: str, quantization: str | None) -> Path:
    """Return where an export is by default: in the folder of the run, or beside a checkpoint that is in none."""
    folder = run_folder_of(checkpoint)
    if format in IMAGES:
        return folder / f"model.{format}"
    return folder / (f"{format}-{quantization}" if quantization else format)


def check_target(target: Path, format: str, overwrite: bool) -> None:
    """Raise an error if the target cannot be written, or something is there already that must not be replaced.

    A file must have the suffix of the format: any other that is there is not an earlier export, and libraries choose
    how they write and read a file by its suffix.

    Raises:
        OSError: Something is in the way, or the folder cannot be written to.
        ValueError: A file has another suffix.
    """
    folder = next(each for each in target.absolute().parents if each.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"--output {target} would be in {folder}, which is not a folder: choose another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"--output {target} cannot be written: no permission in {folder}; choose another path")
    if format in IMAGES and target.is_dir():
        raise IsADirectoryError(f"--output {target} is a folder: specify a file in it")
    if format in IMAGES and target.suffix != f".{format}":  # such as the checkpoint, or config.yaml
        raise ValueError(f"--output {target} must end in .{format} for --format {format}: choose another file")
    if format in TEXTS and not target.is_dir() and (target.exists() or target.is_symlink()):
        raise NotADirectoryError(f"--output {target} is a file or a broken link: specify a folder")
    if format in TEXTS and target.is_dir() and (target.is_mount() or target.samefile(Path.cwd())):
        raise IsADirectoryError(
            f"--output {target} is the working folder or a mount point and cannot be replaced: specify a folder in it"
        )
    taken = any(target.iterdir()) if target.is_dir() else target.exists()
    if taken and not overwrite:
        raise FileExistsError(f"{target} exists: pass --overwrite to replace it, or another --output")


def check_format(model: ImageModel | TextModel, format: str) -> None:
    """Raise ValueError unless a model can be exported in a format; the message names those that it can."""
    from oneforall import ImageModel

    formats = IMAGES if isinstance(model, ImageModel) else TEXTS
    if format not in formats:
        network = type(model.module.architecture).__name__
        fix = f"pass --format {' or '.join(formats)}"
        raise ValueError(f"--format {format} does not support the {network} in checkpoint {model.path}; {fix}")


def write_images(model: ImageModel, target: Path, format: str) -> Exported:
    """Write an image classifier as a file that appears when it is complete and has been compared."""
    from exports.onnx_file import write_onnx
    from exports.pt2_file import write_pt2

    with atomic_path(target) as temporary:
        return (write_onnx if format == "onnx" else write_pt2)(model, temporary)


def write_texts(model: TextModel, target: Path, format: str, quantization: str | None, overwrite: bool) -> Exported:
    """Write a T5 as a folder that appears when it is complete and has been compared."""
    from exports.ctranslate2_folder import write_ctranslate2
    from exports.hf_folder import write_hf

    with atomic_folder(target, replace=overwrite) as temporary:
        return write_hf(model, temporary) if format == "hf" else write_ctranslate2(model, temporary, quantization)


def report(exported: Exported, target: Path) -> Iterator[str]:
    """Yield the lines that say what was written, and how to run it."""
    files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
    yield f"exported {target} ({sum(path.stat().st_size for path in files) / 1e6:,.1f} MB)"
    yield f"  input    {exported.takes}"
    yield f"  output   {exported.gives}"
    yield f"  checked  {exported.checked}"
    yield "run it in Python:"
    within_quotes = json.dumps(str(target), ensure_ascii=False)[1:-1]  # a path may have quotes or backslashes
    yield from (f"  {line.replace('PATH', within_quotes)}" for line in exported.usage)
