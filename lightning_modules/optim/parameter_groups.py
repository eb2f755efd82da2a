"""Parameter groups: which parameters have weight decay, and which belong to the head."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, *heads: str) -> list[dict[str, Any]]:
    """Split the trainable parameters of a network into groups that optimizers treat differently.

    - `weights`: matrices and filters of the body, with weight decay.
    - `head`: the matrix of the last layer, with weight decay. It has its own group because fine-tuning trains it faster
      than the body and Muon must not orthogonalise it.
    - `vectors`: biases and normalisation parameters of the body, in whatever shape, without weight decay: decaying a
      scale towards zero does not regularise the function it scales (Goyal et al. 2017, section 5.1; He et al. 2018,
      "Bag of tricks", 3.1).
    - `head_vectors`: the head's bias, without weight decay; separate so that the head's learning rate reaches it too.

    Args:
        network: The network; its frozen parameters are left out.
        *heads: Dotted names of the last layers in `network`; none if it has no head.

    Returns:
        Groups with `params`, `name` and, for vectors, `weight_decay` 0; empty groups are left out.
    """
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "head": [], "vectors": [], "head_vectors": []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = name.startswith(tuple(f"{head}." for head in heads))
        if parameter.ndim >= 2 and not _is_vector(parameter):
            groups["head" if in_head else "weights"].append(parameter)
        else:
            groups["head_vectors" if in_head else "vectors"].append(parameter)
    named: list[dict[str, Any]] = [
        {"name": name, "params": parameters} for name, parameters in groups.items() if parameters
    ]
    for group in named:
        if group["name"].endswith("vectors"):
            group["weight_decay"] = 0.0
    return named


def _is_vector(parameter: nn.Parameter) -> bool:
    """Return whether a parameter of more than two dimensions has one side above 1, as a scale per channel may."""
    return parameter.ndim > 2 and sum(side > 1 for side in parameter.shape) < 2
