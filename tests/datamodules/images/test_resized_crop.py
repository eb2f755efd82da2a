"""RandomResizedCrop on whole batches, against torchvision's crop and resize of one image after the other."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from datamodules.images.resized_crop import RATIOS, random_boxes, resized_crop


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(32, 32), (20, 33)])
def test_each_image_is_what_torchvision_makes_of_its_part(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (12, 3, *size), dtype=torch.uint8, generator=generator(1))
    cropped = resized_crop(images, 0.1, generator())
    boxes = torch.stack(random_boxes(12, *size, 0.1, generator()), 1).int().tolist()
    for image, ours, box in zip(images, cropped, boxes, strict=True):
        theirs = functional.resized_crop(image.float(), *box, list(size), antialias=False)
        assert (ours.float() - theirs).abs().max() <= 0.51  # ours is rounded
    assert len({tuple(box) for box in boxes}) == 12


def test_parts_have_the_areas_and_ratios_of_the_paper() -> None:
    top, left, height, width = random_boxes(4000, 100, 100, 0.25, generator())
    area, ratio = height * width / 1e4, width / height
    assert area.min() > 0.24 and area.max() <= 1 and 0.55 < area.mean() < 0.65  # uniform, less what does not fit
    assert ratio.min() > RATIOS[0] - 0.02 and ratio.max() < RATIOS[1] + 0.03
    assert (top >= 0).all() and (top + height <= 100).all() and (left >= 0).all() and (left + width <= 100).all()
    assert top.unique().numel() > 40


def test_the_whole_image_is_left_as_it_is() -> None:
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=generator(1))
    top, left, height, width = random_boxes(500, 16, 16, 1.0, generator())
    whole = (height == 16) & (width == 16)
    assert whole.any()
    assert (top[whole] == 0).all() and (left[whole] == 0).all()
    assert resized_crop(images, 0.5, generator()).shape == images.shape
