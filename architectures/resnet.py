"""ResNet: residual networks.

He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016. arXiv:1512.03385
He, Zhang, Ren, Sun. Identity Mappings in Deep Residual Networks. ECCV 2016. arXiv:1603.05027 (`pre_activation`)

There are two families, selected by depth:

* CIFAR family (first paper, section 4.2): depths 20, 32, 44, 56, 110. Three stages of 16, 32, 64 channels.
* ImageNet family (first paper, table 1): depths 18, 34, 50, 101, 152. Four stages of 64, 128, 256, 512 channels, or
  four times as many from depth 50. Parameters are named as in torchvision, so that its published weights load with
  `strict=True`.

Legend: B images, C channels, H x W pixels at the input of the module being described.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from architectures.base import ImageClassifierNet
from architectures.layers import initialize_convolutions
from utils.checks import check_choice, check_positive_int

CIFAR_DEPTHS = (20, 32, 44, 56, 110)
BOTTLENECK_DEPTHS = (50, 101, 152)
IMAGENET_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a pointwise convolution, without bias because a norm follows or precedes it."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size at stride 1, without bias because a norm follows or precedes it."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


class ZeroPadShortcut(nn.Module):
    """Shortcut without parameters ("option A" of section 3.3): subsampled pixels, zeros for the added channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.missing = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # [B, C, ceil(H/stride), ceil(W/stride)]
        return F.pad(x, (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))  # [B, C + missing, ...]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (figure 5, left): [B, C, H, W] -> [B, channels, H/stride, W/stride]."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    @property
    def branch_end(self) -> nn.Conv2d | nn.BatchNorm2d:
        """Last module before the sum: with a zero weight there, the block returns its shortcut."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))  # [B, channels, H/stride, W/stride]
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up and a shortcut (figure 5, right): [B, C, H, W] -> [B, 4 channels, H/stride, W/stride].

    The 3x3 convolution has the stride, as in torchvision ("ResNet v1.5"). In the paper the first 1x1 convolution has
    it, which then ignores three of every four pixels.

    Args:
        in_channels: Channels of the input, C.
        channels: A quarter of the output's channels.
        stride: Stride of the 3x3 convolution.
        shortcut: Module that maps the input to the shape of the output.
        groups: Groups of the 3x3 convolution (ResNeXt, arXiv:1611.05431: 32).
        width_per_group: Channels per group where `channels` is 64 (Wide ResNet, arXiv:1605.07146: 128).
    """

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: nn.Module, groups: int, width_per_group: int
    ) -> None:
        super().__init__()
        width = int(channels * (width_per_group / 64)) * groups
        self.conv1 = conv1x1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, channels * self.expansion)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    @property
    def branch_end(self) -> nn.Conv2d | nn.BatchNorm2d:
        """Last module before the sum: with a zero weight there, the block returns its shortcut."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))  # [B, width, H, W]
        out = self.relu(self.bn2(self.conv2(out)))  # [B, width, H/stride, W/stride]
        out = self.bn3(self.conv3(out))  # [B, 4 channels, H/stride, W/stride]
        return self.relu(out + self.downsample(x))


class PreActivationBasicBlock(BasicBlock):
    """BasicBlock with norm and ReLU before each convolution and nothing after the sum (second paper, figure 1b)."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__(in_channels, channels, stride, shortcut)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.shares_activation = not isinstance(shortcut, nn.Identity)

    @property
    def branch_end(self) -> nn.Conv2d | nn.BatchNorm2d:
        return self.conv2

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        out = self.conv1(activated)  # [B, channels, H/stride, W/stride]
        out = self.conv2(self.relu(self.bn2(out)))
        # If the shape changes, the shortcut also reads the activation (second paper, appendix).
        return out + self.downsample(activated if self.shares_activation else x)


class PreActivationBottleneck(Bottleneck):
    """Bottleneck with norm and ReLU before each convolution and nothing after the sum (second paper, figure 1b)."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: nn.Module, groups: int, width_per_group: int
    ) -> None:
        super().__init__(in_channels, channels, stride, shortcut, groups, width_per_group)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.bn3 = nn.BatchNorm2d(self.conv3.in_channels)
        self.shares_activation = not isinstance(shortcut, nn.Identity)

    @property
    def branch_end(self) -> nn.Conv2d | nn.BatchNorm2d:
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        out = self.conv1(activated)  # [B, width, H, W]
        out = self.conv2(self.relu(self.bn2(out)))  # [B, width, H/stride, W/stride]
        out = self.conv3(self.relu(self.bn3(out)))  # [B, 4 channels, H/stride, W/stride]
        return out + self.downsample(activated if self.shares_activation else x)


class ResNet(ImageClassifierNet):
    """Residual network: normalised images [B, 3, H, W], H and W >= 32 -> logits [B, num_classes].

    Args:
        depth: Number of layers with weights. 20, 32, 44, 56, 110 are the paper's networks for CIFAR-10 (16 to 64
            channels, shortcuts without parameters); 18, 34, 50, 101, 152 are those for ImageNet (64 to 2048 channels,
            shortcuts with projections).
        num_classes: Number of classes, at least 1.
        stem: First layers. "cifar" is a 3x3 convolution that keeps the size. "imagenet" is a 7x7 convolution and a
            max-pool that together leave a sixteenth of the pixels. The choice is independent of the family, so that a
            deep, narrow network can read large images and a wide one small images.
        pre_activation: Whether norm and ReLU come before each convolution, as in the second paper.
        zero_init_last_norm: Whether the scale of each block's last norm starts at zero, so that the block at first
            returns its shortcut (Goyal et al. 2017, arXiv:1706.02677, section 5.1). With `pre_activation` no norm ends
            a block, and its last convolution starts at zero instead.
        groups: Groups of each 3x3 convolution (ResNeXt: 32); must be 1 except at depths 50, 101, 152.
        width_per_group: Channels per group in the first stage (Wide ResNet: 128, ResNeXt-50: 4); must be 64 except at
            depths 50, 101, 152.

    Raises:
        ValueError: An argument is invalid; the message names it and says what is allowed.
    """

    head = "fc"

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        stem: Literal["cifar", "imagenet"] = "cifar",
        pre_activation: bool = False,
        zero_init_last_norm: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
    ) -> None:
        super().__init__(num_classes)
        check_choice("depth", depth, sorted((*CIFAR_DEPTHS, *IMAGENET_STAGES)))
        check_choice("stem", stem, ("cifar", "imagenet"))
        self.depth = depth
        self.pre_activation = pre_activation
        self.groups = check_positive_int("groups", groups)
        self.width_per_group = check_positive_int("width_per_group", width_per_group)
        self.bottleneck = depth in BOTTLENECK_DEPTHS
        if not self.bottleneck and (groups, width_per_group) != (1, 64):
            raise ValueError(
                f"groups and width_per_group must be 1 and 64 at depth {depth}, got {groups} and {width_per_group}: "
                f"they apply to bottleneck blocks, which only depths {', '.join(map(str, BOTTLENECK_DEPTHS))} have"
            )

        # The CIFAR family has (depth - 2) / 6 blocks of two layers in each of three stages.
        blocks: tuple[int, ...] = ((depth - 2) // 6,) * 3 if depth in CIFAR_DEPTHS else IMAGENET_STAGES[depth]
        channels = 16 if depth in CIFAR_DEPTHS else 64

        if stem == "cifar":
            # CIFAR: the paper's first layer for 32x32 images (section 4.2), used for the ImageNet family as well.
            self.conv1 = nn.Conv2d(3, channels, 3, stride=1, padding=1, bias=False)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

        # C, H and W below are those at the output of the stem; bottlenecks have four times as many channels.
        times = 4 if self.bottleneck else 1
        self.layer1 = self._make_stage(channels, channels, blocks[0], stride=1)  # [B, C, H, W]
        self.layer2 = self._make_stage(channels * times, channels * 2, blocks[1], stride=2)  # [B, 2C, H/2, W/2]
        self.layer3 = self._make_stage(channels * 2 * times, channels * 4, blocks[2], stride=2)  # [B, 4C, H/4, W/4]
        self.layer4: nn.Module = nn.Identity()
        features = channels * 4 * times
        if depth in IMAGENET_STAGES:
            self.layer4 = self._make_stage(features, channels * 8, blocks[3], stride=2)  # [B, 8C, H/8, W/8]
            features = channels * 8 * times

        # In a pre-activation network the stem provides the first activation, and another one must follow the last sum
        # (second paper, appendix).
        self.last_activation: nn.Module = nn.Identity()
        if pre_activation:
            self.layer1[0].bn1 = nn.Identity()
            self.last_activation = nn.Sequential(nn.BatchNorm2d(features), nn.ReLU(inplace=True))
        self.fc = nn.Linear(features, num_classes)

        initialize_convolutions(self)
        if zero_init_last_norm:
            for module in self.modules():
                if isinstance(module, BasicBlock | Bottleneck):
                    nn.init.zeros_(module.branch_end.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))  # [B, C, H, W]; stem "imagenet": [B, C, H/2, W/2]
        x = self.maxpool(x)  # stem "imagenet": [B, C, H/4, W/4]
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.last_activation(x)
        x = x.mean(dim=(2, 3))  # [B, features]
        return self.fc(x)  # [B, num_classes]

    def _make_stage(self, in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        """Return a stack of `blocks` blocks, of which the first changes the number of channels and has the stride."""
        first = self._make_block(in_channels, channels, stride)
        out_channels = channels * first.expansion
        return nn.Sequential(first, *(self._make_block(out_channels, channels, 1) for _ in range(blocks - 1)))

    def _make_block(self, in_channels: int, channels: int, stride: int) -> BasicBlock | Bottleneck:
        if self.bottleneck:
            bottleneck = PreActivationBottleneck if self.pre_activation else Bottleneck
            shortcut = self._make_shortcut(in_channels, channels * bottleneck.expansion, stride)
            return bottleneck(in_channels, channels, stride, shortcut, self.groups, self.width_per_group)
        basic = PreActivationBasicBlock if self.pre_activation else BasicBlock
        return basic(in_channels, channels, stride, self._make_shortcut(in_channels, channels, stride))

    def _make_shortcut(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        if stride == 1 and in_channels == out_channels:
            return nn.Identity()
        if self.depth in CIFAR_DEPTHS:
            return ZeroPadShortcut(in_channels, out_channels, stride)
        projection = conv1x1(in_channels, out_channels, stride)  # "option B" of section 3.3
        # The shortcut of a pre-activation block reads an activation that is already normalised.
        return projection if self.pre_activation else nn.Sequential(projection, nn.BatchNorm2d(out_channels))
