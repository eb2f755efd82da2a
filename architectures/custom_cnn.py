"""CustomCNN: our own small network, designed to learn CIFAR-10 with as little computation as possible.

It is based on Keller Jordan's airbench (94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024,
arXiv:2404.00498; code in github.com/KellerJordan/cifar10-airbench), which in turn derives from tysam-code's hlb-CIFAR10
and David Page's "How to Train Your ResNet". Departures from airbench are marked `# Ours:`.

Legend: B images, C channels, H x W pixels at the input of the module being described.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from utils.checks import check_choice, check_positive_int

WHITENING_KERNEL = 2  # pixels per side: 3 x 2 x 2 = 12 values per patch, hence 12 filters and their 12 negatives
WHITENING_EPSILON = 5e-4  # keeps directions in which patches hardly vary, mostly noise, from being amplified


class CustomCNN(ImageClassifierNet):
    """Image classifier of whitened patches, a few wide 3x3 stages and one linear layer.

    Normalised images [B, 3, H, W], H and W >= 32 -> logits [B, num_classes].

    Call `initialize_from_data` once before training. The first layer is never trained, and learning starts much faster
    from whitened patches than from the random rotation that the layer holds until then.

    Args:
        num_classes: Number of classes, at least 1.
        widths: Channels of each stage, 1 to 4 stages: each halves the image, and a fifth would leave nothing of 32x32
            pixels. The default is that of airbench94; airbench96 uses 128, 384, 512.
        convolutions_per_stage: 2, or 3 for longer training: the last two then form a residual branch (airbench96).

    Raises:
        ValueError: An argument is invalid; the message names it and says what is allowed.
    """

    head = "classifier"

    def __init__(
        self, num_classes: int = 10, widths: Sequence[int] = (64, 256, 256), convolutions_per_stage: int = 2
    ) -> None:
        super().__init__(num_classes)
        if not 1 <= len(widths) <= 4:
            raise ValueError(f"widths must have 1 to 4 entries, one per stage, got {list(widths)}")
        for width in widths:
            check_positive_int("widths", width)
        check_choice("convolutions_per_stage", convolutions_per_stage, (2, 3))

        self.whitening = PatchWhitening()
        inputs = [self.whitening.out_channels, *widths[:-1]]
        self.stages = nn.Sequential(
            *(Stage(before, after, convolutions_per_stage) for before, after in zip(inputs, widths, strict=True))
        )
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)
        # Weights of unit standard deviation, divided by the width in `forward`: the logits are small but still learn
        # fast, because the head's steps are large relative to its weights (airbench, "scaling factor").
        nn.init.normal_(self.classifier.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = F.gelu(self.whitening(images))  # [B, 24, H-1, W-1]
        x = self.stages(x)  # [B, widths[-1], about H / 2^stages, about W / 2^stages]
        # Ours: the maximum over all remaining pixels (airbench: MaxPool2d(3), the same for 32x32), so that any image
        # size works and one network can train on small images first and on full-size ones last.
        x = x.amax((2, 3))  # [B, widths[-1]]; unlike a max pool, it is deterministic on GPUs too
        return self.classifier(x) / x.size(1)  # [B, num_classes]

    @torch.no_grad()
    def initialize_from_data(self, images: Tensor) -> None:
        """Fit the whitening layer to normalised training images [N, 3, H, W]; 5,000 images are plenty."""
        self.whitening.fit(images)


class PatchWhitening(nn.Conv2d):
    """Frozen 2x2 convolution with uncorrelated outputs of unit variance: [B, 3, H, W] -> [B, 24, H-1, W-1].

    Neighbouring pixels are nearly equal; removing that redundancy makes the loss better conditioned (David Page, part
    8; hlb-CIFAR10). Each filter is also present negated, so that the activation after it preserves both signs.
    """

    def __init__(self) -> None:
        # Ours: no bias. airbench trains one for three epochs. On a CPU, back-propagating to it through the largest
        # feature map takes about 8% of the convolutions' time, which is better spent on more epochs.
        super().__init__(3, 2 * 3 * WHITENING_KERNEL**2, WHITENING_KERNEL, bias=False)
        self.weight.requires_grad = False

    def reset_parameters(self) -> None:
        """Initialize the filters to a random rotation of the patches, which loses no information."""
        patch = self.weight[0].numel()
        self._set_filters(nn.init.orthogonal_(torch.empty(patch, patch)))

    def fit(self, images: Tensor) -> None:
        """Set the filters to the eigenvectors of the patches' second moments, each scaled to unit variance.

        Second moments replace the covariance because the images are normalised, so the mean patch is near zero.
        """
        moments, count = torch.zeros(self.weight[0].numel(), self.weight[0].numel(), device=images.device), 0
        for some in images.split(256):  # all patches together would take twelve times the memory of the images
            patches = F.unfold(some.float(), self.kernel_size).transpose(0, 1).flatten(1)  # [12, B (H-1)(W-1)]
            moments += patches @ patches.T
            count += patches.shape[1]
        eigenvalues, eigenvectors = torch.linalg.eigh(moments / count)  # eigenvectors are columns
        self._set_filters((eigenvectors / (eigenvalues + WHITENING_EPSILON).sqrt()).T)

    @torch.no_grad()
    def _set_filters(self, rows: Tensor) -> None:
        filters = rows.reshape(-1, *self.weight.shape[1:])  # [12, 3, 2, 2]
        self.weight.copy_(torch.cat([filters, -filters]))


class Stage(nn.Module):
    """Two or three 3x3 convolutions, the first followed by 2x2 max-pooling: [B, C, H, W] -> [B, width, H//2, W//2].

    If there are three, the last two form a residual branch, as in airbench96.
    """

    def __init__(self, in_channels: int, width: int, convolutions: int) -> None:
        super().__init__()
        self.conv1 = PartialIdentityConv(in_channels, width)
        self.norm1 = ShiftOnlyBatchNorm(width)
        self.conv2 = PartialIdentityConv(width, width)
        self.norm2 = ShiftOnlyBatchNorm(width)
        self.conv3 = PartialIdentityConv(width, width) if convolutions == 3 else None
        self.norm3 = ShiftOnlyBatchNorm(width) if convolutions == 3 else None

    def forward(self, x: Tensor) -> Tensor:
        # Pooling before the norm leaves a quarter of the pixels for the norm, the activation and their gradients.
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))  # [B, width, H//2, W//2]
        y = F.gelu(self.norm2(self.conv2(x)))
        if self.conv3 is None or self.norm3 is None:
            return y
        return F.gelu(x + self.norm3(self.conv3(y)))


class PartialIdentityConv(nn.Conv2d):
    """3x3 convolution initialized to pass its inputs through: [B, C, H, W] -> [B, out_channels, H, W].

    At first the first C outputs are the inputs themselves and the others random features of them, so that signals and
    gradients cross the whole network from the first step (airbench, section 3.3; Dirac initialisation: Zagoruyko and
    Komodakis 2017).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            nn.init.dirac_(self.weight[: self.in_channels])


class ShiftOnlyBatchNorm(nn.BatchNorm2d):
    """Batch norm whose scale is fixed at 1; [B, C, H, W] keeps its shape.

    The next convolution can learn any scale, and trains faster without a second parameter for it. The running
    statistics follow new batches faster than PyTorch's default (momentum 0.4, not 0.1), to keep up with large steps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.4)
        self.weight.requires_grad = False
