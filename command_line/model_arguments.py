"""Arguments (argparse) of the commands that load a model."""

from __future__ import annotations

from argparse import ArgumentParser

from command_line.paths import path_argument


def add_checkpoint(parser: ArgumentParser) -> None:
    """Add the checkpoint, and whether it is trusted."""
    parser.add_argument(
        "--ckpt_path",
        required=True,
        type=path_argument,
        metavar="PATH",
        help="a checkpoint, or a run folder: its best.ckpt, else its last.ckpt",
    )
    parser.add_argument(
        "--trust_checkpoint",
        action="store_true",
        help="let the checkpoint's config name any class and run its code",
    )


def add_device(parser: ArgumentParser) -> None:
    """Add the device on which the model computes."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 or mps (default: cpu)")
