"""Memory check for decoding: a lower bound on what a search needs, compared with what the device has.

Legend: K hypotheses per source, T places per hypothesis in the cache, V = vocab_size, L blocks, H heads, D = d_kv.
"""

import torch

from architectures.t5.config import T5Config
from architectures.t5.search import Search
from utils.devices import memory_bytes

HALF, SINGLE, INDEX = 2, 4, 8
"""Bytes per bfloat16, per float32 and per token id."""


def least_bytes(config: T5Config, search: Search) -> int:
    """Return a lower bound, in bytes, on the memory that decoding a single source takes in any precision.

    It counts the keys and values of all hypotheses, the tokens, one step's log-probabilities and, in a beam search,
    whose hypotheses see each other's places, the attention weights of the first step.
    """
    hypotheses, places = search.num_hypotheses, search.max_length - 1
    cache = config.decoder_depth * 2 * config.num_heads * config.d_kv * hypotheses * places * HALF
    tokens = hypotheses * search.max_length * INDEX
    log_probabilities = hypotheses * config.vocab_size * SINGLE
    attention = config.num_heads * hypotheses**2 * HALF if search.num_beams > 1 else 0
    return cache + tokens + log_probabilities + attention


def require_memory(config: T5Config, search: Search, device: torch.device) -> None:
    """Refuse a search that needs more memory than the whole device has.

    There is no other limit: if there are more beams than tokens in the vocabulary, they fill from the second step on.

    Raises:
        ValueError: A single source takes more memory than the device has; the message names the options.
    """
    on_gpu = device.type == "cuda"
    there = torch.cuda.get_device_properties(device).total_memory if on_gpu else memory_bytes()
    needed = least_bytes(config, search)
    if needed > there:
        name = "num_return_sequences" if search.do_sample else "num_beams"
        raise ValueError(
            f"{name} {search.num_hypotheses} with max_length {search.max_length} takes at least {needed // 10**9:,} GB "
            f"per source, and {device} has {there // 10**9:,} GB: lower {name} or max_length"
        )
