"""Compilation of a network for training, by `torch.compile`."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from lightning.pytorch import Trainer
from torch import nn

from utils.checks import check_choice

CompileMode = Literal["none", "default", "reduce-overhead", "max-autotune"]
"""The modes of `torch.compile`, and `none` for no compilation."""

WITH_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes that replay CUDA graphs on a GPU."""


def compile_mode(value: CompileMode | bool) -> CompileMode:
    """Return a mode; older configs say true for `default` and false for `none`.

    Raises:
        ValueError: There is no such mode.
    """
    if isinstance(value, bool):
        return "default" if value else "none"
    check_choice("model.compile_network", value, get_args(CompileMode))
    return value


def compile_for_fit(mode: CompileMode, trainer: Trainer, *modules: nn.Module, dynamic: bool) -> None:
    """Have modules compile themselves when they are first called; in place, so the state dict keeps its names.

    Whether sizes are dynamic is fixed, because torch's own choice depends on which sizes come first, and a resumed run,
    which begins with others, would not be exact.

    Args:
        mode: The mode.
        trainer: The trainer of the fit.
        *modules: What to compile.
        dynamic: Whether one compiled version serves all sizes of inputs, or each size has its own.

    Raises:
        ValueError: CUDA graphs are combined with gradient accumulation: gradients are in the graphs' memory, and the
            next batch overwrites them.
    """
    if mode in WITH_GRAPHS and trainer.accumulate_grad_batches > 1:
        raise ValueError(
            f"model.compile_network {mode} cannot be used with trainer.accumulate_grad_batches "
            f"{trainer.accumulate_grad_batches}: CUDA graphs lose gradients; pass --model.compile_network default"
        )
    for module in modules if mode != "none" else ():
        module.compile(mode=mode, dynamic=dynamic)


def begin_step(mode: CompileMode) -> None:
    """Allow CUDA graphs to reuse the memory of the last batch's outputs; within a batch, they keep them.

    Without it, each call of a compiled module without gradients would free the outputs of the one before, and a
    decoder those of its encoder.
    """
    if mode in WITH_GRAPHS:
        torch.compiler.cudagraph_mark_step_begin()
