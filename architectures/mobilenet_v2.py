"""MobileNetV2: inverted residual blocks, wide inside and narrow at their inputs and outputs.

Sandler et al. MobileNetV2: Inverted Residuals and Linear Bottlenecks. CVPR 2018. arXiv:1801.04381
The layers follow table 2, the block table 1 and figure 4d. Parameters are named as in torchvision, so that its
published weights load with `strict=True`.

Legend: B images, C channels, H x W pixels at the input of the module being described.
"""

from typing import Literal

from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from architectures.layers import ConvNormAct, initialize_convolutions, scale_channels
from utils.checks import check_choice, check_fraction, check_positive

# (expansion, channels, blocks, stride of the first block) of each stage: table 2.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3x3 convolution, projection: [B, C, H, W] -> [B, out_channels, H/stride, W/stride].

    No activation follows the projection, because a ReLU on so few channels would lose information (section 3.2). The
    input is added to the output if their shapes agree.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.adds_input = stride == 1 and in_channels == out_channels
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormAct(in_channels, hidden, kernel_size=1, activation=nn.ReLU6))  # [B, hidden, H, W]
        layers += [
            ConvNormAct(hidden, hidden, stride=stride, groups=hidden, activation=nn.ReLU6),  # [B, hidden, H/s, W/s]
            nn.Conv2d(hidden, out_channels, 1, bias=False),  # [B, out_channels, H/s, W/s]
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds_input else self.conv(x)


class MobileNetV2(ImageClassifierNet):
    """MobileNetV2: normalised images [B, 3, H, W], H and W >= 32 -> logits [B, num_classes].

    Args:
        num_classes: Number of classes, at least 1.
        width_multiplier: Factor by which every number of channels is multiplied, above 0 (the paper: 0.35 to 1.4); the
            results are rounded to multiples of 8. Below 1, the last convolution keeps its 1280 channels (section 4).
        stem: "imagenet" halves the image five times, as the paper does for 224x224. "cifar" omits the first two
            halvings, so that a 32x32 image ends as 4x4, not as 1x1. The parameters are the same.
        dropout: Probability, in [0, 1), of dropping a pooled feature in training.

    Raises:
        ValueError: An argument is invalid; the message names it and says what is allowed.
    """

    head = "classifier.1"

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
        # CIFAR: the first convolution has stride 1, not 2.
        layers: list[nn.Module] = [ConvNormAct(3, channels, stride=1 if stem == "cifar" else 2, activation=nn.ReLU6)]
        for index, (expansion, width, blocks, stride) in enumerate(STAGES):
            if stem == "cifar" and index == 1:
                stride = 1  # CIFAR: the next halving is also omitted (as in github.com/kuangliu/pytorch-cifar).
            out_channels = scale_channels(width, width_multiplier)
            for block in range(blocks):
                layers.append(InvertedResidual(channels, out_channels, stride if block == 0 else 1, expansion))
                channels = out_channels
        features = scale_channels(1280, max(1.0, width_multiplier))
        layers.append(ConvNormAct(channels, features, kernel_size=1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        linear = nn.Linear(features, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)

        # The paper specifies no initialisation; this is torchvision's, from which its published weights were trained.
        initialize_convolutions(self)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # [B, 1280, H/8, W/8]; stem "imagenet": [B, 1280, H/32, W/32]
        x = x.mean(dim=(2, 3))  # [B, 1280]
        return self.classifier(x)  # [B, num_classes]
