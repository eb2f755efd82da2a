"""Tests of ResNet against torchvision's, published parameter counts and the definition of pre-activation."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.resnet import ResNet
from tests.close import assert_close


def randomize_norms(net: nn.Module) -> None:
    """Set norms and their statistics to random values: the initial 0 and 1 would hide a norm in the wrong place."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.0),
                (module.bias.data, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.8, 1.6),
            ):
                tensor.uniform_(low, high, generator=generator)


@pytest.mark.parametrize(
    ("reference", "depth", "classes", "widths"),
    [
        ("resnet18", 18, 10, {}),
        ("resnet34", 34, 1, {}),
        ("resnet50", 50, 7, {}),
        ("resnet101", 101, 3, {}),
        ("resnet152", 152, 1000, {}),
        ("wide_resnet50_2", 50, 5, {"width_per_group": 128}),
        ("resnext50_32x4d", 50, 5, {"groups": 32, "width_per_group": 4}),
        ("resnet101", 101, 2, {"groups": 3, "width_per_group": 17}),
    ],
)
@torch.no_grad()
def test_equals_torchvision(reference: str, depth: int, classes: int, widths: dict[str, int]) -> None:
    kwargs = {} if reference.startswith(("wide", "resnext")) else widths
    theirs = getattr(torchvision.models, reference)(num_classes=classes, **kwargs).eval()
    randomize_norms(theirs)
    with torch.device("meta"):  # no weights of its own, whose initialization would take most of the time
        ours = ResNet(depth, classes, stem="imagenet", **widths).eval()  # type: ignore[arg-type]
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    images = torch.randn(2, 3, 65, 48)
    assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("depth", "published"), [(18, 11_173_962), (50, 23_520_842)])
def test_parameter_count_with_cifar_stem_is_the_published_one(depth: int, published: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ResNet(depth).parameters()) == published


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameter_count_of_cifar_family_is_the_published_one(depth: int, millions: float) -> None:
    """Compare with He et al. 2015, table 6, and exactly with section 4.2: 2n layers each of 16, 32, 64 channels."""
    n = (depth - 2) // 6
    convolutions = 3 * 16 + 16 * 16 * 2 * n + 16 * 32 + 32 * 32 * (2 * n - 1) + 32 * 64 + 64 * 64 * (2 * n - 1)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    with torch.device("meta"):
        count = sum(p.numel() for p in ResNet(depth).parameters())
    assert count == 9 * convolutions + norms + 64 * 10 + 10
    assert round(count / 1e6, 2 if millions < 1 else 1) == millions


def test_depth_is_the_number_of_layers_with_weights() -> None:
    for depth in (20, 56, 18, 34, 50, 101):
        with torch.device("meta"):
            net = ResNet(depth)
        layers = [
            m for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in name
        ]
        assert len(layers) == depth


def test_cifar_family_has_option_a_shortcuts() -> None:
    """With a zero branch, a block that changes the shape must subsample and pad with zeros."""
    block = ResNet(20, zero_init_last_norm=True).layer2[0].eval()
    x = torch.rand(2, 16, 9, 8)
    out = block(x)
    assert out.shape == (2, 32, 5, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any() and not out[:, 24:].any()


@pytest.mark.parametrize("depth", [20, 18, 50])
@pytest.mark.parametrize("pre_activation", [False, True])
def test_zero_init_makes_each_block_return_its_shortcut(depth: int, pre_activation: bool) -> None:
    net = ResNet(depth, pre_activation=pre_activation, zero_init_last_norm=True).eval()
    block = net.layer2[1]
    x = torch.rand(2, (32, 128 * (4 if depth == 50 else 1))[depth != 20], 8, 8)
    assert torch.equal(block(x), x)
    assert not torch.equal(ResNet(depth, pre_activation=pre_activation).eval().layer2[1](x), x)


def reference_pre_activation(net: ResNet, x: Tensor, blocks: list[int], convolutions: int) -> Tensor:
    """Return the logits by the second paper's figure 1b and appendix, computed from the weights alone."""
    weights = net.state_dict()

    def normed(x: Tensor, name: str) -> Tensor:
        w, b, m, v = (weights[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        return torch.relu(
            (x - m[:, None, None]) / torch.sqrt(v + 1e-5)[:, None, None] * w[:, None, None] + b[:, None, None]
        )

    x = normed(F.conv2d(x, weights["conv1.weight"], padding=1), "bn1")
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            first = stage == 1 and block == 0
            branch = activated = x if first else normed(x, f"{name}.bn1")
            for i in range(1, convolutions + 1):
                kernel = weights[f"{name}.conv{i}.weight"]
                strided = block == 0 and stage > 1 and i == (1 if convolutions == 2 else 2)
                branch = branch if i == 1 else normed(branch, f"{name}.bn{i}")
                branch = F.conv2d(branch, kernel, stride=2 if strided else 1, padding=kernel.shape[-1] // 2)
            if f"{name}.downsample.weight" in weights:
                x = F.conv2d(activated, weights[f"{name}.downsample.weight"], stride=1 if stage == 1 else 2)
            elif block == 0 and stage > 1:
                extra = torch.zeros(x.shape[0], x.shape[1] // 2, *branch.shape[2:])
                x = torch.cat([extra, activated[:, :, ::2, ::2], extra], dim=1)
            x = x + branch
    x = normed(x, "last_activation.0").mean(dim=(2, 3))
    return F.linear(x, weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize(
    ("depth", "blocks", "convolutions"), [(20, [3, 3, 3], 2), (18, [2, 2, 2, 2], 2), (50, [3, 4, 6, 3], 3)]
)
@torch.no_grad()
def test_pre_activation_follows_its_definition(depth: int, blocks: list[int], convolutions: int) -> None:
    net = ResNet(depth, pre_activation=True).eval()
    randomize_norms(net)
    images = torch.randn(2, 3, 33, 32)
    assert_close(net(images), reference_pre_activation(net, images, blocks, convolutions))


@pytest.mark.parametrize("depth", [0, -18, 19, 1202, 20.0, "18", True, None])
def test_unknown_depth_is_rejected(depth: object) -> None:
    with pytest.raises(ValueError, match=r"depth must be one of 18, 20, 32, 34, 44, 50, 56, 101, 110, 152, got"):
        ResNet(depth)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value"), [("groups", 0), ("groups", 2), ("width_per_group", 128), ("width_per_group", 64.0)]
)
def test_invalid_groups_and_width_are_rejected(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=argument):
        ResNet(18, **{argument: value})  # type: ignore[arg-type]
