"""Helpers: sources to generate from, and what was generated."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.generation import generate
from architectures.t5.model import T5
from tests.architectures.t5.oracle import CONFIGS, make_pair, random_batch


def sources(batch: int = 64, seed: int = 0) -> dict[str, Any]:
    inputs = random_batch(40, batch=batch, seed=seed)
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


@cache
def ending(name: str) -> T5Config:
    """Return the config of that name with an end token at which results end early, late and never.

    A random model seldom ends at token 1.
    """
    model, _ = make_pair(CONFIGS[name])
    results = generate(model, **sources(), max_length=14, min_length=14)[0][:, 1:].tolist()
    lengths = {token: len({row.index(token) for row in results if token in row}) for token in range(2, 40)}
    return replace(CONFIGS[name], eos_token_id=max(lengths, key=lambda token: lengths[token]))


def rows(model: T5, sequences: Tensor) -> list[list[int]]:
    """Return each sequence without the start token, up to its end token: transformers pads with end tokens."""
    eos = model.config.eos_token_id
    tokens = [row[1:] for row in sequences.tolist()]
    return [row[: row.index(eos) + 1] if eos in row else row for row in tokens]


@torch.no_grad()
def score_size(model: T5, inputs: dict[str, Any], sequences: Tensor, length_penalty: float = 1.0) -> float:
    """Return the size of the numbers that make a score, for the tolerance: a score near 0 is a difference of logits.

    A score is a sum of log-probabilities, one per token, divided by length**length_penalty.
    """
    results = len(sequences) // len(inputs["input_ids"])
    sources = {name: tensor.repeat_interleave(results, 0) for name, tensor in inputs.items()}
    logits = model(**sources, decoder_input_ids=sequences[:, :-1])
    return float(logits.abs().max()) * max(1.0, sequences.shape[1] ** (1 - length_penalty))
