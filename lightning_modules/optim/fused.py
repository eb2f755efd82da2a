"""The fused kernels of torch's own optimizers, which update all parameters of a group in one pass over memory.

torch uses them only where `fused` is set. On a GPU they are a few launches per step instead of several per parameter;
on a CPU, AdamW takes a quarter to a sixth of the time (results/LOG.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.optim.base import lay_out_state
from utils.sharded import is_sharded

DEVICES = ("cpu", "cuda")


def use_fused_kernels(optimizer: Optimizer) -> None:
    """Have torch's SGD, Adam or AdamW use its fused kernel, unless its config sets `fused` or `foreach`.

    How an optimizer computes is not part of a checkpoint: a run that resumes on another device, or in another layout of
    the weights, keeps what is set here.
    """
    if type(optimizer) not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        return
    # It says that the kernel divides gradients by the scale of 16-mixed, which it can. But then callbacks and clipping
    # would see gradients that are not divided, and Lightning refuses to clip
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    for group in optimizer.param_groups:
        if group["fused"] is None and group["foreach"] is None and _has_kernel(group):
            group["fused"] = True
    _prepare_state(optimizer)
    optimizer.register_load_state_dict_pre_hook(_with_own_kernels)
    optimizer.register_load_state_dict_post_hook(_prepare_state)


def _has_kernel(group: dict[str, Any]) -> bool:
    """Return whether a fused kernel supports the parameters and settings of a group."""
    parameters: list[Tensor] = group["params"]
    if group["differentiable"] or group.get("dampening"):  # of SGD: the first step is not damped, see `_prepare_state`
        return False
    return all(each.is_floating_point() and each.device.type in DEVICES and not is_sharded(each) for each in parameters)


def _with_own_kernels(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a saved state with this optimizer's own `fused` and `foreach`."""
    groups = [
        {**saved, **{key: group[key] for key in ("fused", "foreach")}}
        for saved, group in zip(state_dict["param_groups"], optimizer.param_groups, strict=False)
    ]
    return {**state_dict, "param_groups": groups} if len(groups) == len(state_dict["param_groups"]) else state_dict


def _prepare_state(optimizer: Optimizer) -> None:
    """Prepare the state for fused kernels: SGD's needs the momentum of either all parameters or none.

    Momentum of zero makes no difference, because the first step adds the gradient to it.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["fused"] and group.get("momentum") else []:
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    lay_out_state(optimizer)
