"""Streams of characters: a text as ids, and where each batch of an epoch starts in it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utils.batches import IGNORED
from utils.random_streams import torch_generator

_AT_ONCE = 2**22  # characters encoded at once


def training_positions(
    size: int, batch_size: int, length: int, *, seed: int, epoch: int, rank: int, world_size: int
) -> Tensor:
    """Return where each batch of an epoch starts in each of this rank's streams: a pure function of the arguments.

    The streams of all ranks follow one another in the text. The first starts at a random position among those that
    leave room for all, so that the text is divided differently in each epoch.

    Args:
        size: Number of characters of the text.
        batch_size: Number of streams per rank, B.
        length: Number of characters of a stream in a batch, T.
        seed: Seed of the position of the first stream.
        epoch: Epoch, counted from 0.
        rank: Number of this process.
        world_size: Number of processes.

    Returns:
        int64 [steps, B].
    """
    streams = batch_size * world_size
    steps = (size - 1) // (streams * length)  # the last character is only a target
    spare = size - 1 - steps * streams * length
    first = int(torch.randint(spare + 1, (), generator=torch_generator("offset", seed, epoch)))
    heads = first + torch.arange(rank * batch_size, (rank + 1) * batch_size) * steps * length
    return heads + torch.arange(steps)[:, None] * length


def evaluation_streams(ids: Tensor, max_streams: int) -> tuple[Tensor, Tensor]:
    """Divide a text [N] into at most `max_streams` streams of equal length.

    Every character but the first is a target once. The end of the last stream is padded, targets with `IGNORED` and
    characters with 0.

    Returns:
        (characters, targets), both int64 [streams, length].
    """
    ids = ids.long()
    pairs = len(ids) - 1  # of a character and the next
    length = -(-pairs // max_streams)
    streams = -(-pairs // length)
    padding = streams * length - pairs
    characters = torch.cat([ids[:-1], ids.new_zeros(padding)]).view(streams, length)
    targets = torch.cat([ids[1:], ids.new_full((padding,), IGNORED)]).view(streams, length)
    return characters, targets


def encode(text: str, vocabulary: str, source: str, lines_before: int = 0) -> Tensor:
    """Return the ids of a text, [N] in the smallest type that has them all: the text stays in memory.

    Args:
        text: The text.
        vocabulary: Every known character once, sorted by code point.
        source: Name of the text in errors.
        lines_before: Number of lines before the text in its file.

    Raises:
        ValueError: A character is unknown; the message names it and its line.
    """
    known = _points(vocabulary)
    ids = np.empty(len(text), np.uint8 if len(known) <= 256 else np.int32)
    for start in range(0, len(text), _AT_ONCE):
        points = _points(text[start : start + _AT_ONCE])
        found = np.searchsorted(known, points).clip(max=len(known) - 1)
        if len(unknown := np.flatnonzero(known[found] != points)):
            place = start + int(unknown[0])
            line = lines_before + 1 + text.count("\n", 0, place)
            raise ValueError(
                f"{source}, line {line}: the model does not know the character {text[place]!r} "
                f"(U+{ord(text[place]):04X}): it was trained on a text with {len(vocabulary)} different characters; "
                "remove or replace it"
            )
        ids[start : start + len(points)] = found
    return torch.from_numpy(ids)


def _points(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
