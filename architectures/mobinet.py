"""MobiNet: our own MobileNet, for small images and short training runs.

The block is the inverted residual of MobileNetV2 (arXiv:1801.04381). Our changes come from

* Howard et al. Searching for MobileNetV3. ICCV 2019. arXiv:1905.02244: h-swish (section 5.2), squeeze-and-excitation
  with a hard sigmoid in the wide part of the block (section 5.3);
* Hu, Shen, Sun. Squeeze-and-Excitation Networks. CVPR 2018. arXiv:1709.01507;
* Tan, Le. EfficientNetV2. ICML 2021. arXiv:2104.00298: fused blocks in the early stages (section 3.2, figure 2).

Legend: B images, C channels, H x W pixels at the input of the module being described.
"""

from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from architectures.base import ImageClassifierNet
from architectures.layers import ConvNormAct, initialize_convolutions, scale_channels
from utils.checks import check_choice, check_fraction, check_positive


class Stage(NamedTuple):
    """Sequence of blocks with the same number of output channels; the first block halves the image."""

    channels: int
    blocks: int
    first_expansion: int
    """Expansion of the first block, whose input has the fewer channels of the previous stage."""
    expansion: int
    fused: bool


STAGES = [
    Stage(channels=48, blocks=3, first_expansion=3, expansion=2, fused=True),
    Stage(channels=96, blocks=3, first_expansion=4, expansion=2, fused=True),
    Stage(channels=160, blocks=4, first_expansion=6, expansion=4, fused=False),
]


class SqueezeExcitation(nn.Module):
    """Channel weights computed from the whole image; [B, C, H, W] keeps its shape.

    Args:
        channels: Channels of the input and output, C.
        squeezed: Channels of the hidden layer.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = x.mean(dim=(2, 3), keepdim=True)  # [B, C, 1, 1]
        weights = F.relu(self.reduce(weights))  # [B, squeezed, 1, 1]
        return x * F.hardsigmoid(self.expand(weights))  # [B, C, H, W]


class InvertedResidual(nn.Module):
    """Expansion, 3x3 filter, channel weights, projection: [B, C, H, W] -> [B, out_channels, H/stride, W/stride].

    The input is added to the output if their shapes agree.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Channels of the output.
        stride: Stride of the 3x3 convolution.
        expansion: Channels inside the block, as a multiple of C.
        fused: Whether one full 3x3 convolution expands and filters, rather than a pointwise and a depthwise one.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int, fused: bool) -> None:
        super().__init__()
        self.adds_input = stride == 1 and in_channels == out_channels
        hidden = in_channels * expansion
        if fused:
            self.filter: nn.Module = ConvNormAct(in_channels, hidden, stride=stride, activation=nn.Hardswish)
        else:
            self.filter = nn.Sequential(
                ConvNormAct(in_channels, hidden, kernel_size=1, activation=nn.Hardswish),  # [B, hidden, H, W]
                ConvNormAct(hidden, hidden, stride=stride, groups=hidden, activation=nn.Hardswish),
            )
        self.excite = SqueezeExcitation(hidden, squeezed=in_channels // 4)
        self.project = ConvNormAct(hidden, out_channels, kernel_size=1, activation=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        out = self.excite(self.filter(x))  # [B, hidden, H/stride, W/stride]
        out = self.project(out)  # [B, out_channels, H/stride, W/stride]
        return x + out if self.adds_input else out


class MobiNet(ImageClassifierNet):
    """Our modified MobileNet: normalised images [B, 3, H, W], H and W >= 32 -> logits [B, num_classes].

    It is designed to learn more than MobileNetV2 for the same multiply-adds, and in less time. The design choices:

    * **Fused blocks in the first two stages.** A depthwise convolution does little arithmetic per value it moves, so
      at high resolution it is bound by memory bandwidth, especially on a CPU, and each of its kernels learns from one
      channel only. A full 3x3 convolution between few channels does its multiply-adds faster and mixes the channels
      while it filters. In the last stage, with many channels and few pixels, the depthwise form is cheaper.
    * **A stem of one full convolution, followed directly by a fused block that halves the image.** MobileNetV2 runs
      three blocks with up to 144 channels at full resolution, where nearly half of its activations are. Here only the
      stem's 32 channels are at full resolution.
    * **Squeeze-and-excitation in every block.** It gives context from the whole image in the first stages, where 3x3
      kernels see only a few pixels, for less than 1% of the multiply-adds.
    * **h-swish rather than ReLU6**, whose gradient is zero for every negative input and above 6.
    * **Fewer blocks (10, not 17), most with a shortcut (7 of 10; MobileNetV2: 10 of 17)**, for short gradient paths.

    Args:
        num_classes: Number of classes, at least 1.
        width_multiplier: Factor by which every number of channels is multiplied, above 0; the results are rounded to
            multiples of 8.
        stem: "cifar" halves the image three times, so that a 32x32 image ends as 4x4. "imagenet" halves it twice more,
            in the stem, for images of about 224x224.
        dropout: Probability, in [0, 1), of dropping a pooled feature in training.

    Raises:
        ValueError: An argument is invalid; the message names it and says what is allowed.
    """

    head = "classifier"

    def __init__(
        self,
        num_classes: int = 10,
        width_multiplier: float = 1.0,
        stem: Literal["cifar", "imagenet"] = "cifar",
        dropout: float = 0.2,
    ) -> None:
        super().__init__(num_classes)
        check_positive("width_multiplier", width_multiplier)
        check_choice("stem", stem, ("cifar", "imagenet"))
        check_fraction("dropout", dropout)

        channels = scale_channels(32, width_multiplier)
        if stem == "cifar":
            self.stem: nn.Module = ConvNormAct(3, channels, activation=nn.Hardswish)
        else:
            self.stem = nn.Sequential(
                ConvNormAct(3, channels, stride=2, activation=nn.Hardswish),  # [B, 32, H/2, W/2]
                ConvNormAct(channels, channels, stride=2, activation=nn.Hardswish),  # [B, 32, H/4, W/4]
            )
        blocks: list[nn.Module] = []
        for stage in STAGES:
            out_channels = scale_channels(stage.channels, width_multiplier)
            blocks.append(InvertedResidual(channels, out_channels, 2, stage.first_expansion, stage.fused))
            channels = out_channels
            for _ in range(stage.blocks - 1):
                blocks.append(InvertedResidual(channels, channels, 1, stage.expansion, stage.fused))
        self.blocks = nn.Sequential(*blocks)
        features = scale_channels(640, width_multiplier)
        self.last = ConvNormAct(channels, features, kernel_size=1, activation=nn.Hardswish)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, num_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)  # [B, 32, H, W]; stem "imagenet": [B, 32, H/4, W/4]
        x = self.blocks(x)  # [B, 160, H/8, W/8]; stem "imagenet": [B, 160, H/32, W/32]
        x = self.last(x).mean(dim=(2, 3))  # [B, 640]
        return self.classifier(self.dropout(x))  # [B, num_classes]
