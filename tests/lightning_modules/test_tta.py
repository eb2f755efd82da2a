"""The views of test-time augmentation pixel by pixel, and against airbench's function."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.tta import tta_views


def pixel(images: Tensor, row: int, column: int) -> Tensor:
    """images[..., row, column], reflected at the edge without repeating it."""
    height, width = images.shape[-2:]
    row = -row if row < 0 else 2 * (height - 1) - row if row >= height else row
    column = -column if column < 0 else 2 * (width - 1) - column if column >= width else column
    return images[..., row, column]


def shifted(images: Tensor, by: int) -> Tensor:
    view = torch.empty_like(images)
    for row in range(images.shape[-2]):
        for column in range(images.shape[-1]):
            view[..., row, column] = pixel(images, row + by, column + by)
    return view


def mirrored(images: Tensor) -> Tensor:
    return torch.stack([images[..., images.shape[-1] - 1 - column] for column in range(images.shape[-1])], dim=-1)


@pytest.fixture(params=["uint8", "float"])
def images(request):
    whole = torch.randint(0, 256, (2, 3, 5, 7), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return whole if request.param == "uint8" else whole.float() / 3


def test_flip_is_image_and_mirror(images):
    (first_weight, first), (second_weight, second) = tta_views(images, translate=False)
    assert first_weight == second_weight == 0.5
    assert torch.equal(first, images)
    assert torch.equal(second, mirrored(images))


def test_translate_adds_both_diagonal_shifts(images):
    views = list(tta_views(images, translate=True))
    assert [weight for weight, _ in views] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    expected = [images, mirrored(images)]
    for by in (-1, 1):
        expected += [shifted(images, by), mirrored(shifted(images, by))]
    for (_, view), wanted in zip(views, expected, strict=True):
        assert view.dtype == images.dtype
        assert torch.equal(view, wanted)


def test_views_are_those_of_airbench(images):
    """airbench's infer_mirror_translate, transcribed: 0.5 of the mirrored, 0.5 of the two translated and mirrored."""
    weights = torch.randn(3 * 5 * 7, 4, generator=torch.Generator().manual_seed(2))

    def net(inputs: Tensor) -> Tensor:
        return torch.tanh(inputs.float().flatten(1) / 255 @ weights)

    def infer_mirror(inputs: Tensor) -> Tensor:
        return 0.5 * net(inputs) + 0.5 * net(inputs.flip(-1))

    padded = F.pad(images.float(), (1,) * 4, "reflect")
    translated = torch.stack([infer_mirror(padded[:, :, 0:5, 0:7]), infer_mirror(padded[:, :, 2:7, 2:9])]).mean(0)
    published = 0.5 * infer_mirror(images) + 0.5 * translated
    mine = torch.stack([weight * net(view) for weight, view in tta_views(images, translate=True)]).sum(0)
    torch.testing.assert_close(mine, published)
