"""Blocks, initialisation and channel rounding shared by several networks."""

from torch import nn


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, activation: [B, C, H, W] -> [B, out_channels, ceil(H / stride), ceil(W / stride)].

    The convolution has no bias, because the norm's shift follows it. Being a Sequential, it names its parameters
    `0.weight` (convolution) and `1.weight`, `1.bias` (norm), as torchvision's Conv2dNormActivation does.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, an odd number; the padding keeps the image size if `stride` is 1.
        stride: Stride of the convolution.
        groups: Groups of the convolution; `in_channels` makes it depthwise, with one kernel per channel.
        activation: Class of the activation; `nn.Identity` for a linear output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out_channels),
            activation(),
        )


def initialize_convolutions(net: nn.Module) -> None:
    """Initialize all convolutions as in He et al. 2015 (arXiv:1502.01852, section 2.2): N(0, 2 / fan_out), biases 0.

    With fan_out, gradients neither grow nor vanish on their way back through ReLU layers; fan_in would do the same for
    activations on their way forward. Norms keep PyTorch's initial scale 1 and shift 0.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def scale_channels(channels: int, width_multiplier: float, divisor: int = 8) -> int:
    """Return `channels * width_multiplier` rounded to a multiple of `divisor`, but never below 90% of the product.

    Multiples of 8 suit vector hardware. The rule is the one in the authors' code (`_make_divisible` in
    tensorflow/models, research/slim/nets/mobilenet), so that widths match published weights.
    """
    exact = channels * width_multiplier
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * exact else rounded + divisor
