"""CustomCNN: our own small net, made to learn CIFAR-10 in as little arithmetic as possible.

It grew out of Keller Jordan's airbench (94% on CIFAR-10 Is All You Need: 3.29 Seconds on a Single GPU, 2024,
arXiv:2404.00498; code in github.com/KellerJordan/cifar10-airbench), itself a descendant of tysam-code's hlb-CIFAR10 and
of David Page's "How to Train Your ResNet". Departures are marked `# Ours:`.

Legend: B images, C channels, H x W pixels as they enter the module at hand.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from utils.checks import check_choice, check_positive_int

WHITENING_KERNEL = 2  # pixels: 3 x 2 x 2 = 12 numbers a patch, hence 12 filters and their 12 negatives
WHITENING_EPSILON = 5e-4  # keeps near-constant directions of the patches, mostly noise, from being blown up


class CustomCNN(ImageClassifierNet):
    """Whitened patches, a few wide 3x3 stages, one linear layer: [B, 3, H, W], H and W >= 32 -> [B, num_classes].

    Call `initialize_from_data` once before training: the first layer never trains, and learning starts much faster from
    whitened patches than from the random rotation it holds until then.

    Args:
        num_classes: Number of classes.
        widths: Channels of each stage. A stage halves the image, so at most four keep a 32x32 image above nothing.
            The default is that of airbench94; airbench96 has 128, 384, 512.
        convolutions_per_stage: 2, or 3 for longer trainings: the last two then form a residual branch (airbench96).

    Raises:
        ValueError: An argument is impossible; the message names it and says what is allowed.
    """

    head = "classifier"

    def __init__(
        self, num_classes: int = 10, widths: Sequence[int] = (64, 256, 256), convolutions_per_stage: int = 2
    ) -> None:
        super().__init__(num_classes)
        if not 1 <= len(widths) <= 4:
            raise ValueError(f"widths must name 1 to 4 stages, got {list(widths)}")
        for width in widths:
            check_positive_int("widths", width)
        check_choice("convolutions_per_stage", convolutions_per_stage, (2, 3))

        self.whitening = PatchWhitening()
        inputs = [self.whitening.out_channels, *widths[:-1]]
        self.stages = nn.Sequential(
            *(Stage(before, after, convolutions_per_stage) for before, after in zip(inputs, widths, strict=True))
        )
        self.classifier = nn.Linear(widths[-1], num_classes, bias=False)
        # Rows of unit standard deviation, divided by the width in `forward`: small logits that still learn fast,
        # because a step of the head is large against a weight of its size (airbench, "scaling factor").
        nn.init.normal_(self.classifier.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = F.gelu(self.whitening(images))  # [B, 24, H-1, W-1]
        x = self.stages(x)  # [B, widths[-1], about H / 2^stages, about W / 2^stages]
        # Ours: the maximum over whatever is left (airbench: MaxPool2d(3), the same for 32x32), so that any size fits
        # and one net can train on small images first and full ones last.
        x = F.adaptive_max_pool2d(x, 1).flatten(1)  # [B, widths[-1]]
        return self.classifier(x) / x.size(1)  # [B, num_classes]

    @torch.no_grad()
    def initialize_from_data(self, images: Tensor) -> None:
        """Whiten the first layer on the patches of some normalised training images [N, 3, H, W]; 5,000 are plenty."""
        self.whitening.fit(images)


class PatchWhitening(nn.Conv2d):
    """Frozen 2x2 convolution whose outputs are uncorrelated, of unit variance: [B, 3, H, W] -> [B, 24, H-1, W-1].

    Neighbouring pixels are nearly equal; taking that redundancy out makes the loss better conditioned (David Page, part
    8; hlb-CIFAR10). Each filter also comes negated, so that the activation after it loses neither sign.

    """

    def __init__(self) -> None:
        # Ours: no bias. airbench trains one for three epochs; on a CPU the gradient down to it (that of the largest
        # feature map) takes some 8% of the convolutions' time, better spent on further epochs.
        super().__init__(3, 2 * 3 * WHITENING_KERNEL**2, WHITENING_KERNEL, bias=False)
        self.weight.requires_grad = False

    def reset_parameters(self) -> None:
        """Start as a random rotation of the patches, which at least keeps all they hold."""
        patch = self.weight[0].numel()
        self._set_filters(nn.init.orthogonal_(torch.empty(patch, patch)))

    def fit(self, images: Tensor) -> None:
        """Set the filters to the eigenvectors of the patches' second moments, each scaled to unit variance.

        Second moments, not covariance, as the images are normalised; the mean of a patch is then near zero.
        """
        patches = F.unfold(images.float(), self.kernel_size)  # [N, 12, (H-1)(W-1)]
        moments = torch.einsum("npl,nql->pq", patches, patches) / (patches.size(0) * patches.size(2))
        eigenvalues, eigenvectors = torch.linalg.eigh(moments)  # eigenvectors are columns
        self._set_filters((eigenvectors / (eigenvalues + WHITENING_EPSILON).sqrt()).T)

    @torch.no_grad()
    def _set_filters(self, rows: Tensor) -> None:
        filters = rows.reshape(-1, *self.weight.shape[1:])  # [12, 3, 2, 2]
        self.weight.copy_(torch.cat([filters, -filters]))


class Stage(nn.Module):
    """Two or three 3x3 convolutions, the first followed by a 2x2 maximum: [B, C, H, W] -> [B, width, H//2, W//2].

    A third convolution closes a residual branch over the last two, as in airbench96.
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
        # Pooling before the norm gives the norm, the activation and their gradients a quarter of the pixels.
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))  # [B, width, H//2, W//2]
        y = F.gelu(self.norm2(self.conv2(x)))
        if self.conv3 is None or self.norm3 is None:
            return y
        return F.gelu(x + self.norm3(self.conv3(y)))


class PartialIdentityConv(nn.Conv2d):
    """3x3 convolution that starts by passing its inputs through: [B, C, H, W] -> [B, out_channels, H, W].

    The first C outputs are the inputs themselves, the rest random features of them, so signals and gradients cross the
    whole net from the first step on (airbench, section 3.2; dirac initialisation: Zagoruyko and Komodakis 2017).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            nn.init.dirac_(self.weight[: self.in_channels])


class ShiftOnlyBatchNorm(nn.BatchNorm2d):
    """Batch norm whose scale stays one: [B, C, H, W] unchanged in shape.

    The next convolution can learn any scale, and so train faster without a second parameter for it. The running
    statistics forget faster than PyTorch's default (0.4 of each new batch against 0.1), to keep pace with large steps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.4)
        self.weight.requires_grad = False
