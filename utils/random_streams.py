"""Random streams: every random number of a run is a pure function of (purpose, seed, position).

There is nothing to save and nothing to restore: a resumed run computes the same key and draws the same numbers.

A key is written out as text, such as "augmentation/0/3/17", before it is hashed: no two keys have the same text.
Neither numpy's SeedSequence nor torch's `manual_seed` could take its place. The former ignores trailing zeros, so that
(3), (3, 0) and (3, 0, 0) would be one key; the latter, on the CPU, uses only the lower 32 bits of a seed.
"""

from __future__ import annotations

import hashlib
import operator
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
    "limited_evaluation",  # which examples it has
    "sweep",  # what a trial of a sweep tries
]
"""What random numbers are for."""

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

_HASH_BITS, _SEED_BITS = 128, 63

# The layout of a torch CPU generator's state: seed, words left, whether seeded and next word, then the words of the
# Mersenne Twister, in 64 bits each of which the lower 32 are used.
_STATE_HEADER_BYTES, _STATE_WORDS = 24, 624


def stream_seed(purpose: Purpose, seed: int, *position: int) -> int:
    """Return the 63-bit seed of a stream.

    Args:
        purpose: What the numbers are for.
        seed: The run's seed, any integer.
        *position: Where in the run, such as epoch, step and rank: any integers. Positions of different lengths are
            different streams.

    Raises:
        TypeError: `seed` or part of `position` is not an integer: rounding it would give two keys one stream.
        ValueError: `purpose` is unknown.
    """
    return _seed(_entropy(purpose, seed, position))


def torch_generator(purpose: Purpose, seed: int, *position: int) -> torch.Generator:
    """Return a torch generator for a stream; arguments and errors as in `stream_seed`.

    It is on the CPU, so that the numbers do not depend on the device that they are used on.
    """
    generator = torch.Generator()
    generator.set_state(_mersenne_state(_entropy(purpose, seed, position)))
    return generator


def numpy_generator(purpose: Purpose, seed: int, *position: int) -> np.random.Generator:
    """Return a numpy generator for a stream; arguments and errors as in `stream_seed`."""
    return np.random.default_rng(_entropy(purpose, seed, position))


def seed_global_generators(purpose: Purpose, seed: int, *position: int) -> None:
    """Set torch's global generators, of all devices, to a stream: dropout and the like take no generator as argument.

    Arguments and errors as in `stream_seed`.
    """
    entropy = _entropy(purpose, seed, position)
    torch.set_rng_state(_mersenne_state(entropy))
    _seed_accelerator(_seed(entropy))


def _seed_accelerator(seed: int) -> None:
    """Seed the generators of the devices in use, which take all 64 bits of a seed; the CPU's has its state already.

    `torch.manual_seed` would also note the seed for each kind of device that is not in use, with the stack as text:
    milliseconds per step.
    """
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return
    devices = torch.get_device_module(accelerator)
    if getattr(devices, "is_initialized", lambda: True)():  # else nothing is computed there
        getattr(devices, "manual_seed_all", devices.manual_seed)(seed)


def _entropy(purpose: Purpose, seed: int, position: tuple[int, ...]) -> int:
    """Return the 128-bit hash of a key."""
    if purpose not in PURPOSES:
        raise ValueError(f"purpose must be one of {', '.join(PURPOSES)}, got {purpose!r}")
    key = "/".join([purpose, *(str(int(operator.index(number))) for number in (seed, *position))])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_HASH_BITS // 8).digest(), "big")


def _seed(entropy: int) -> int:
    """Return the upper bits of a hash."""
    return entropy >> (_HASH_BITS - _SEED_BITS)


def _mersenne_state(entropy: int) -> torch.Tensor:
    """Return the state of a torch CPU generator, filled from all bits of `entropy`."""
    state = torch.Generator().get_state()  # one that is about to compute its first numbers from the words
    words = state[_STATE_HEADER_BYTES:][: 8 * _STATE_WORDS].numpy().view(np.uint64)
    # a view: this writes into `state`; numpy's own MT19937 would fill as many words in six times the time
    words[:] = np.random.default_rng(entropy).integers(2**32, size=_STATE_WORDS, dtype=np.uint64)
    return state
