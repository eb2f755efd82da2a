"""Images as base64 text, for the report."""

import base64
import io

from torch import Tensor

MAX_SIDE = 160
"""Maximum width and height of an image in the report, in pixels."""


def png(image: Tensor) -> str:
    """Return an image as a PNG file in base64, with at most `MAX_SIDE` pixels per side.

    Args:
        image: uint8 [3, H, W], or [4, H, W] with opacity.
    """
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
