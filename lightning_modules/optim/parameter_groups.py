"""Parameter groups: which parameters are decayed, and which form the head."""

from __future__ import annotations

from torch import nn


def parameter_groups(network: nn.Module, head: str = "") -> list[dict]:
    """Splits the trainable parameters of `network` into groups that are treated differently.

    - `weights`: matrices and filters of the body, with weight decay.
    - `head`: the matrix of the last layer, with weight decay. Its own group because fine-tuning trains it faster
      than the body and Muon must not orthogonalise it.
    - `vectors`: biases and normalisation parameters, without weight decay: decaying a scale towards zero does
      not regularise the function it scales (Goyal et al. 2017, section 5.3; He et al. 2018, "Bag of tricks", 3.1).

    Args:
        network: The module whose parameters are to be trained. Frozen ones are left out.
        head: Dotted name of the last layer inside `network`; "" for none.

    Returns:
        Groups with `params` and `name` (and `weight_decay` 0 for `vectors`); empty groups are left out. The head's
        bias is among the vectors, in a group `head_vectors`, so that a rate for the head reaches it too.
    """
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "head": [], "vectors": [], "head_vectors": []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        of_head = bool(head) and name.startswith(f"{head}.")
        if parameter.ndim >= 2:
            groups["head" if of_head else "weights"].append(parameter)
        else:
            groups["head_vectors" if of_head else "vectors"].append(parameter)
    named: list[dict] = [{"name": name, "params": parameters} for name, parameters in groups.items() if parameters]
    for group in named:
        if group["name"].endswith("vectors"):
            group["weight_decay"] = 0.0
    return named
