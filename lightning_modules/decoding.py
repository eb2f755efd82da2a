"""The precision in which a text model decodes."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

DecodePrecision = Literal["auto", "fp32", "bf16"]


def decode_context(precision: DecodePrecision, weights: Tensor) -> AbstractContextManager[object]:
    """Return the context in which to decode.

    Args:
        precision: `bf16`, `fp32`, or `auto` for the precision already in use.
        weights: Some of the network's weights.

    Raises:
        ValueError: It is `fp32`, but the weights are not.
    """
    if precision == "auto":
        return nullcontext()
    if precision == "fp32" and weights.dtype != torch.float32:
        raise ValueError(
            f"model.decode_precision is fp32, but the weights are {str(weights.dtype).removeprefix('torch.')}, as set "
            "by trainer.precision; pass --model.decode_precision auto"
        )
    return torch.autocast(weights.device.type, torch.bfloat16, enabled=precision == "bf16")
