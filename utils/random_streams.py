"""Random streams: every random number of a run is a pure function of (purpose, seed, position).

There is nothing to save and nothing to restore: a resumed run computes the same key and draws the same numbers.

Keys are spelled out unambiguously before they are hashed, so that no two share a seed and no two purposes share a
stream. (numpy's SeedSequence alone would not do: it ignores trailing zeros, so that (3), (3, 0) and (3, 0, 0) are one
key. Nor would `manual_seed`: of a 64-bit seed, torch's CPU generator uses the lower 32 bits.)
"""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import numpy as np
import torch

Purpose = Literal[
    "order",  # of training examples in an epoch
    "step_order",  # of a text epoch's batches
    "task_order",  # in which the examples of several tasks are mixed
    "offset",  # of an epoch's first character
    "test_split",
    "validation_split",
    "augmentation",
    "mixing",  # MixUp and CutMix
    "references",  # which of an example's references is trained on
    "tokens",  # BPE-dropout
    "spans",  # span corruption in training
    "evaluation_spans",  # span corruption in validation and test
    "dropout",
    "samples",  # characters that a language model generates
    "initialization",  # images that a network looks at before training
    "toy_examples",
]
"""What random numbers are for."""

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

_STATE_WORDS = 624  # of the Mersenne Twister, 64 bits each in torch's state, of which the lower 32 are used
_STATE_HEADER = 24  # bytes before them: seed, words left, whether seeded, next word


def stream_seed(purpose: Purpose, seed: int, *position: int) -> int:
    """Return the 63-bit seed of a stream.

    Args:
        purpose: What the numbers are for.
        seed: The run's seed.
        *position: Where in the run, such as epoch, step, rank. Positions of different lengths are different streams.

    Raises:
        ValueError: `purpose` is unknown.
    """
    return _entropy(purpose, seed, position) >> 65


def torch_generator(purpose: Purpose, seed: int, *position: int) -> torch.Generator:
    """Return a CPU generator for a stream; arguments as `stream_seed`.

    Drawing on the CPU gives the same numbers whatever device the batch is on.
    """
    generator = torch.Generator()
    generator.set_state(_mersenne_state(_entropy(purpose, seed, position)))
    return generator


def numpy_generator(purpose: Purpose, seed: int, *position: int) -> np.random.Generator:
    """Return a numpy generator for a stream; arguments as `stream_seed`."""
    return np.random.default_rng(_entropy(purpose, seed, position))


def seed_global_generators(purpose: Purpose, seed: int, *position: int) -> None:
    """Set torch's global generators to a stream, for what takes no generator of its own, such as dropout.

    Arguments as `stream_seed`.
    """
    torch.manual_seed(stream_seed(purpose, seed, *position))  # accelerators use all 64 bits of a seed
    torch.set_rng_state(_mersenne_state(_entropy(purpose, seed, position)))


def _entropy(purpose: Purpose, seed: int, position: tuple[int, ...]) -> int:
    """Return the 128-bit hash of a key."""
    if purpose not in PURPOSES:
        raise ValueError(f"purpose must be one of {', '.join(PURPOSES)}, got {purpose!r}")
    key = "/".join([purpose, *(str(int(number)) for number in (seed, *position))])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "big")


def _mersenne_state(entropy: int) -> torch.Tensor:
    """Return the state of a torch CPU generator, filled from all bits of `entropy`."""
    state = torch.Generator().get_state()
    words = state[_STATE_HEADER : _STATE_HEADER + 8 * _STATE_WORDS].numpy().view(np.uint64)
    words[:] = np.random.MT19937(entropy).state["state"]["key"]  # a view: this writes into `state`
    return state
