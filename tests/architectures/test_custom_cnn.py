"""Tests of CustomCNN: whitening against NumPy, initialisation, frozen parameters, sizes and arguments."""

import numpy as np
import pytest
import torch
from torch import nn

from architectures.custom_cnn import CustomCNN, PartialIdentityConv
from tests.close import assert_close


def small_net(**arguments):
    return CustomCNN(**{"num_classes": 7, "widths": (8, 12, 16), **arguments})


def correlated_images(count=64, size=16):
    """Return smooth images with correlated colours, whose patches are far from white."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, size, size, generator=generator)
    mixed = torch.einsum("dc,nchw->ndhw", torch.tensor([[1.0, 0.5, 0.2], [0.3, 1.0, 0.4], [0.1, 0.6, 0.8]]), noise)
    return mixed + 0.7 * mixed.roll(1, 2) + 0.5 * mixed.roll(1, 3)


def numpy_patches(images):
    """Return all 2x2 patches as rows of values in the order channel, row, column: [N (H-1) (W-1), 12]."""
    array = images.double().numpy()
    corners = [array[:, :, y : y + array.shape[2] - 1, x : x + array.shape[3] - 1] for y in (0, 1) for x in (0, 1)]
    return np.stack(corners, axis=2).reshape(len(array), 12, -1).transpose(0, 2, 1).reshape(-1, 12)


@pytest.mark.parametrize("count", [64, 600])
def test_whitening_makes_patches_uncorrelated(count):
    images = correlated_images(count)
    patches = numpy_patches(images)
    before = patches.T @ patches / len(patches)
    assert abs(before - np.eye(12)).max() > 0.5  # the patches are not white before

    net = small_net()
    net.initialize_from_data(images)
    filters = net.whitening.weight.double().numpy().reshape(24, 12)
    after = filters[:12] @ before @ filters[:12].T
    np.testing.assert_allclose(after, np.eye(12), atol=0.02)  # the epsilon shrinks weak directions a little
    np.testing.assert_array_equal(filters[12:], -filters[:12])

    outputs = net.whitening(images).detach().double().numpy()[:, :12].transpose(0, 2, 3, 1).reshape(-1, 12)
    assert_close(outputs, patches @ filters[:12].T, dtype=torch.float32)  # the layer applies what was computed


def test_unfitted_whitening_layer_is_a_rotation():
    filters = small_net().whitening.weight.reshape(24, 12)
    torch.testing.assert_close(filters[:12] @ filters[:12].T, torch.eye(12), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(5, 9), (6, 6), (9, 4)])
def test_new_convolutions_pass_channels_through(in_channels, out_channels):
    x = torch.randn(2, in_channels, 7, 5)
    kept = min(in_channels, out_channels)
    torch.testing.assert_close(PartialIdentityConv(in_channels, out_channels)(x)[:, :kept], x[:, :kept])


@pytest.mark.parametrize("convolutions", [2, 3])
def test_every_trainable_parameter_receives_a_gradient(convolutions):
    net = small_net(convolutions_per_stage=convolutions)
    net(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


def test_only_whitening_and_norm_scales_are_frozen():
    net = small_net()
    scales = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert len(scales) == 6 and frozen == scales | {"whitening.weight"}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (101, 32)])
@pytest.mark.parametrize("num_classes", [1, 10])
def test_accepts_any_image_size_and_number_of_classes(size, num_classes):
    net = small_net(num_classes=num_classes, widths=(8, 8, 8, 8)).eval()
    assert net(torch.randn(2, 3, *size)).shape == (2, num_classes)


@pytest.mark.parametrize("size", [20, 24, 28])
def test_accepts_the_small_images_of_progressive_resizing(size):
    assert small_net().eval()(torch.randn(2, 3, size, size)).shape == (2, 7)


def test_default_parameter_count_is_that_of_airbench94():
    # Whitening 24 * 12; 3x3 convolutions 24->64->64, 64->256->256, 256->256->256; scales and shifts of norms; head.
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 2 * 256 * 256)
    expected = 24 * 12 + convolutions + 2 * 2 * (64 + 256 + 256) + 256 * 10
    assert sum(parameter.numel() for parameter in CustomCNN().parameters()) == expected


def test_head_is_the_last_linear_layer():
    net = small_net()
    assert net.get_submodule(net.head) is [module for module in net.modules() if isinstance(module, nn.Linear)][-1]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"widths": ()}, "widths"),
        ({"widths": (8, 0)}, "widths"),
        ({"widths": (8, 2.5)}, "widths"),
        ({"widths": (8,) * 5}, "widths"),
        ({"convolutions_per_stage": 1}, "convolutions_per_stage"),
    ],
)
def test_errors_name_invalid_arguments(arguments, name):
    with pytest.raises(ValueError, match=name):
        small_net(**arguments)
