"""Size of a model: parameters and multiply-adds."""

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn, no_grad, zeros
from torch.utils.flop_counter import FlopCounterMode

from utils.contracts import ClassifiesImages, network_of


def parameters_by_part(network: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the number of parameters, and of trainable ones, of each direct child that has any.

    Parameters that two children share count in the first, so that the sum is the network's. Those of the network
    itself are under `(itself)`.
    """
    parts: dict[str, tuple[int, int]] = {}
    seen: set[int] = set()
    for name, part in [*network.named_children(), ("(itself)", network)]:
        new = [parameter for parameter in part.parameters() if id(parameter) not in seen]
        seen.update(map(id, new))
        if new:
            trainable = sum(parameter.numel() for parameter in new if parameter.requires_grad)
            parts[name] = (sum(parameter.numel() for parameter in new), trainable)
    return parts


def multiply_adds(pl_module: LightningModule) -> int | None:
    """Return the multiply-adds of an image classifier's network per image; None for other modules."""
    network = network_of(pl_module)
    if network is pl_module or not isinstance(pl_module, ClassifiesImages) or pl_module.input_size is None:
        return None
    return image_multiply_adds(network, pl_module.input_size)


def image_multiply_adds(network: nn.Module, size: int) -> int | None:
    """Return the multiply-adds of convolutions and matrix products per image; None if they cannot be counted.

    torch's own counter measures one pass of a zero image [1, 3, size, size] in evaluation mode. Random state,
    statistics and training mode stay as they were.
    """
    like = next(network.parameters(), zeros(()))
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with isolate_rng(), no_grad(), FlopCounterMode(display=False) as counter:
            # `forward` itself: a network compiled in place would be compiled again for this input
            network.forward(zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
    except (RuntimeError, TypeError, ValueError):
        return None  # training must not stop because of its summary
    finally:
        for module, training in modes.items():
            module.training = training
    return int(counter.get_total_flops()) // 2
