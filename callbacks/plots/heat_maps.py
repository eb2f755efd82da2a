"""Grad-CAM heat maps: what in an image speaks for a class, according to a network's last convolutional stage.

Selvaraju et al. 2017, arXiv:1610.02391, section 3: each channel of the stage is weighted by the mean gradient of the
class's logit; a map is the positive part of their sum. Computed by Captum.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from utils.contracts import network_of
from utils.distributed import has_whole_weights

IMAGES_AT_ONCE = 8
"""Images per pass: autograd keeps the features of all layers, and those of a whole batch might not fit in memory."""
OPACITY = 0.8
"""Opacity of the strongest place of a map."""


class HeatMaps(NamedTuple):
    """Heat maps of several classes of some images.

    Attributes:
        stage: Dotted name of the module in the network whose output was used.
        maps: From 0 to 1, float32 [K, classes per image, H, W] on the CPU; each has its own scale.
    """

    stage: str
    maps: Tensor


def heat_maps(trainer: Trainer, pl_module: LightningModule, images: Tensor, classes: Tensor) -> HeatMaps:
    """Return heat maps of images; no weight, gradient or buffer of the module changes.

    Args:
        trainer: The trainer of the evaluation.
        pl_module: In eval mode; it maps images [B, 3, H, W] with values from 0 to 255 to logits [B, C].
        images: uint8 [K, 3, H, W].
        classes: The classes whose maps are wanted, integers [K, classes per image].

    Raises:
        ValueError: Captum is missing, `last_stage` finds none, or this process has only part of the weights.
    """
    try:
        from captum.attr import LayerGradCam
    except ImportError as error:
        raise ValueError("they need Captum: pip install 'one-for-all[report]', and test again") from error
    if not has_whole_weights(trainer):
        raise ValueError("the weights are split over processes: test with --trainer.devices 1")
    network = network_of(pl_module)
    with (
        torch.inference_mode(False),  # inference tensors have no gradients
        torch.compiler.set_stance("force_eager"),  # a compiled network would not call the hooks
        trainer.precision_plugin.forward_context(),
    ):
        pixels = images.to(pl_module.device, torch.float32)
        targets = classes.clone().to(pl_module.device)
        with torch.no_grad():
            stage = last_stage(network, lambda: pl_module(pixels[:1]))
        if stage is None:
            raise ValueError(f"{type(network).__name__} has no convolutional stage beyond its first layer")
        grad_cam = LayerGradCam(pl_module, network.get_submodule(stage))
        parts = [
            grad_cam.attribute(some.repeat_interleave(classes.shape[1], 0), wanted.flatten(), relu_attributions=True)
            for some, wanted in zip(pixels.split(IMAGES_AT_ONCE), targets.split(IMAGES_AT_ONCE), strict=True)
        ]
        maps = torch.cat(parts).detach().float()  # [K * classes per image, 1, h, w]
    maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
    maps = maps / maps.amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    return HeatMaps(stage, maps.view(*classes.shape, *images.shape[2:]).cpu())


def last_stage(network: nn.Module, run: Callable[[], object]) -> str | None:
    """Return the dotted name of the module that ends the last convolutional stage of a network.

    That is the last module, in the order of the forward pass, whose output [B, C, H, W] is as high and wide as that of
    the last convolution; convolutions of a single pixel, such as those of squeeze-and-excitation, do not count. None
    if there is only one convolution, such as a transformer's, whose patches say little about the answer.

    Args:
        network: The network.
        run: Calls the network once.
    """
    calls: list[tuple[str, torch.Size]] = []

    def record(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            calls.append((name, output.shape if isinstance(output, Tensor) else torch.Size()))

        return hook

    modules = dict(network.named_modules())
    handles = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    convolutions = [
        place
        for place, (name, shape) in enumerate(calls)
        if isinstance(modules[name], nn.Conv2d) and len(shape) == 4 and min(shape[2:]) > 1
    ]
    if len(convolutions) < 2:
        return None
    size = calls[convolutions[-1]][1][2:]
    times = Counter(name for name, _ in calls)
    ends = [
        name
        for name, shape in calls[convolutions[-1] :]
        if len(shape) == 4 and shape[2:] == size and times[name] == 1  # of several calls, which one would be unknown
    ]
    return ends[-1] if ends else None


def overlay(heat: Tensor) -> Tensor:
    """Return a picture to lay over an image, uint8 [4, H, W]: colours by heat, transparent where there is none.

    Args:
        heat: From 0 to 1, [H, W].
    """
    from matplotlib import colormaps

    picture = torch.from_numpy(colormaps["turbo"](heat.numpy(), bytes=True)).permute(2, 0, 1).contiguous()
    picture[3] = (heat * OPACITY * 255).round().byte()
    return picture
