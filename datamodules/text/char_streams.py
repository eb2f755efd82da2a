"""Streams of characters: a text as ids, and where each batch of an epoch begins in it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utils.batches import IGNORED
from utils.random_streams import torch_generator


def training_positions(
    size: int, batch_size: int, length: int, *, seed: int, epoch: int, rank: int, world_size: int
) -> Tensor:
    """Where each batch of an epoch begins in each of this rank's streams: int64 [steps, B], a pure function.

    All ranks' streams follow one another in the text; the first begins at a place drawn from what they leave over, so
    that chunks are cut at other characters in each epoch.

    Args:
        size: Characters of the text.
        batch_size: B, streams of each rank.
        length: T, characters of a stream in a batch.
        seed, epoch: Together they draw the beginning.
        rank, world_size: This process and the number of processes.
    """
    streams = batch_size * world_size
    steps = (size - 1) // (streams * length)  # the last character is only a target
    spare = size - 1 - steps * streams * length
    first = int(torch.randint(spare + 1, (), generator=torch_generator("offset", seed, epoch)))
    heads = first + torch.arange(rank * batch_size, (rank + 1) * batch_size) * steps * length
    return heads + torch.arange(steps)[:, None] * length


def evaluation_streams(ids: Tensor, streams: int) -> tuple[Tensor, Tensor]:
    """A text [N] as streams of equal length, at most so many: characters and targets, both int64 [B, length].

    Every character but the first is the target once. What the last streams lack is filled with -100 (characters: 0).
    """
    length = -(-(len(ids) - 1) // streams)
    rows = -(-(len(ids) - 1) // length)
    fill = rows * length - (len(ids) - 1)
    characters = torch.cat([ids[:-1], ids.new_zeros(fill)]).view(rows, length)
    targets = torch.cat([ids[1:], ids.new_full((fill,), IGNORED)]).view(rows, length)
    return characters, targets


def encode(text: str, vocabulary: str, source: str, first_line: int = 0) -> Tensor:
    """The ids of a text, int64 [N].

    Args:
        text: The text.
        vocabulary: Every known character once, in the order of code points.
        source: What to call the text in an error.
        first_line: How many lines stand before it in its file.

    Raises:
        ValueError: A character is unknown; the message names it and the line.
    """
    points, known = (np.frombuffer(part.encode("utf-32-le"), np.uint32) for part in (text, vocabulary))
    ids = np.searchsorted(known, points).clip(max=len(known) - 1)
    if len(unknown := np.flatnonzero(known[ids] != points)):
        place = int(unknown[0])
        line = first_line + 1 + text.count("\n", 0, place)
        raise ValueError(
            f"{source} line {line} has the character {text[place]!r} (U+{points[place]:04X}), which the model has "
            f"never seen: it knows the {len(vocabulary)} characters of the text that it was trained on"
        )
    return torch.from_numpy(ids.astype(np.int64))
