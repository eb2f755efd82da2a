"""Reading a batch or a step's outputs without knowing which datamodule or module made them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def count_examples(batch: Any) -> int:
    """The number of examples in a batch: the first dimension of the first tensor in it that has one (0: none has).

    Args:
        batch: A tensor, or any nesting of mappings, sequences and dataclasses around tensors.
    """
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else 0
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        parts: Any = [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    elif isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        parts = batch
    else:
        return 0
    return next((count for part in parts if (count := count_examples(part))), 0)


def classified(outputs: Any) -> tuple[Tensor, Tensor] | None:
    """`probabilities` [B, C] and `labels` [B] of an image classifier's step; None for the outputs of anything else."""
    if isinstance(outputs, Mapping) and "probabilities" in outputs and "labels" in outputs:
        return outputs["probabilities"].detach(), outputs["labels"].detach()
    return None


def class_name(names: Sequence[str] | None, index: int) -> str:
    """The name of class `index`, or the index itself where no name is known."""
    return names[index] if names is not None and 0 <= index < len(names) else str(index)


def shorten(text: str, most: int) -> str:
    """`text` in at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
