"""MobileNetV1: depthwise separable convolutions, that is one 3x3 kernel per channel, then a 1x1 mix of the channels.

Howard et al. MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications. 2017. arXiv:1704.04861
The layers follow table 1, the split convolution figure 3 (right).

Legend: B images, C channels, H x W pixels at the input of the module being described.
"""

from typing import Literal

from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from architectures.layers import ConvNormAct, initialize_convolutions, scale_channels
from utils.checks import check_choice, check_positive

# (channels, stride) of each depthwise separable convolution in table 1. The stride of the last one is 1: the table says
# 2, but the next line still has 7x7 pixels.
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


class DepthwiseSeparable(nn.Sequential):
    """Depthwise 3x3, then pointwise 1x1 convolution: [B, C, H, W] -> [B, out_channels, H/stride, W/stride].

    It takes `1 / out_channels + 1 / 9` of the multiply-adds of a full 3x3 convolution (section 3.1).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            ConvNormAct(in_channels, in_channels, stride=stride, groups=in_channels),  # [B, C, H/stride, W/stride]
            ConvNormAct(in_channels, out_channels, kernel_size=1),  # [B, out_channels, H/stride, W/stride]
        )


class MobileNetV1(ImageClassifierNet):
    """MobileNetV1: normalised images [B, 3, H, W], H and W >= 32 -> logits [B, num_classes].

    Args:
        num_classes: Number of classes, at least 1.
        width_multiplier: Factor by which every number of channels is multiplied, above 0 (the paper's alpha: 1, 0.75,
            0.5, 0.25); the results are rounded to multiples of 8.
        stem: "imagenet" halves the image five times, as the paper does for 224x224. "cifar" omits the first two
            halvings, so that a 32x32 image ends as 4x4, not as 1x1. The parameters are the same.

    Raises:
        ValueError: An argument is invalid; the message names it and says what is allowed.
    """

    head = "classifier"

    def __init__(
        self,
        num_classes: int = 10,
        width_multiplier: float = 1.0,
        stem: Literal["cifar", "imagenet"] = "cifar",
    ) -> None:
        super().__init__(num_classes)
        check_positive("width_multiplier", width_multiplier)
        check_choice("stem", stem, ("cifar", "imagenet"))

        channels = scale_channels(32, width_multiplier)
        # CIFAR: the first convolution has stride 1, not 2.
        layers: list[nn.Module] = [ConvNormAct(3, channels, stride=1 if stem == "cifar" else 2)]
        for index, (width, stride) in enumerate(BLOCKS):
            if stem == "cifar" and index == 1:
                stride = 1  # CIFAR: the next halving is also omitted, as in our MobileNetV2.
            out_channels = scale_channels(width, width_multiplier)
            layers.append(DepthwiseSeparable(channels, out_channels, stride))
            channels = out_channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        # The paper specifies no initialisation; this is the one of our MobileNetV2.
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # [B, 1024, H/8, W/8]; stem "imagenet": [B, 1024, H/32, W/32]
        x = x.mean(dim=(2, 3))  # [B, 1024]
        return self.classifier(x)  # [B, num_classes]
