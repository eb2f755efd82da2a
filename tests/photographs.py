"""Small pictures in place of somebody's photographs: coloured shapes in noise, of odd sizes, one folder per class."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("circle", "square", "triangle")


def write_photographs(root: Path, per_class: int, seed: int = 0) -> None:
    """Write JPEG files `root/<shape>/<number>.jpg`, no two of one size."""
    draw = np.random.default_rng(seed)
    for shape in SHAPES:
        (root / shape).mkdir(parents=True)
        for number in range(per_class):
            photograph(shape, draw).save(root / shape / f"{number}.jpg", quality=85)


def photograph(shape: str, draw: np.random.Generator) -> Image.Image:
    """Return a picture of a shape: of any colour, size and place, on a background of blurred noise."""
    width, height = (int(side) for side in draw.integers(60, 140, 2))
    image = Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)).filter(ImageFilter.GaussianBlur(3))
    size = int(min(width, height) * draw.uniform(0.4, 0.7))
    left, top = int(draw.integers(0, width - size)), int(draw.integers(0, height - size))
    box = (left, top, left + size, top + size)
    colour = tuple(int(channel) for channel in draw.integers(0, 256, 3))
    pen = ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse(box, fill=colour, outline="white")
    elif shape == "square":
        pen.rectangle(box, fill=colour, outline="white")
    else:
        pen.polygon([(left + size // 2, top), (left, top + size), (left + size, top + size)], fill=colour)
    return image
