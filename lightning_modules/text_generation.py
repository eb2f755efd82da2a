"""Text generation with a T5: encoding the sources, and decoding the generated tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from architectures.t5.generation import generate
from architectures.t5.model import T5
from architectures.t5.search import Search
from lightning_modules.decoding import DecodePrecision, decode_context
from utils.batches import ScoredText

Seed = int | Sequence[torch.Generator] | None
"""What samples depend on: a number, or a generator per source; None for the global generator."""


def encode_sources(
    tokenizer: Tokenizer, texts: Sequence[str], net: T5, max_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return sources as token ids, int64 [B, S], padded, and the mask of their tokens, bool [B, S].

    Args:
        tokenizer: The tokenizer, which appends the end of the sequence.
        texts: At least one source, with the task's prefix, if it has one.
        net: The network that reads them.
        max_length: Maximum length of a source in tokens, the end included, to which longer ones are truncated; None for
            no limit.

    Warns:
        UserWarning: Some are truncated.
    """
    ids = [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
    if max_length is not None and (long := sum(len(each) > max_length for each in ids)):
        rank_zero_warn(
            f"{long:,} of {len(ids):,} sources exceed the maximum source length {max_length} and are truncated"
        )
        end = torch.tensor([net.config.eos_token_id])
        ids = [torch.cat([each[: max_length - 1], end]) if len(each) > max_length else each for each in ids]
    lengths = torch.tensor([len(each) for each in ids])
    input_ids = pad_sequence(ids, batch_first=True, padding_value=net.config.pad_token_id)
    return input_ids, torch.arange(int(lengths.max())) < lengths[:, None]


def generate_texts(
    net: T5,
    tokenizer: Tokenizer,
    input_ids: Tensor,
    mask: Tensor,
    search: Search,
    precision: DecodePrecision,
    seed: Seed = None,
) -> list[list[ScoredText]]:
    """Return the texts that a search finds for each source, best first, or independent samples, with their scores.

    Args:
        net: The network.
        tokenizer: The tokenizer of its tokens.
        input_ids: Sources, int64 [B, S].
        mask: True at their tokens, bool [B, S].
        search: The options of decoding.
        precision: The precision in which to decode.
        seed: What samples depend on.
    """
    config, results = net.config, search.num_return_sequences
    with decode_context(precision, net.embedding.weight):
        sequences, scores = generate(net, input_ids, mask, seed=seed, **dataclasses.asdict(search))
    dropped = {config.decoder_start_token_id, config.pad_token_id, config.eos_token_id}
    rows = [[token for token in row if token not in dropped] for row in sequences.tolist()]
    # Other special tokens stay: sentinels are what span corruption generates.
    texts = list(map(ScoredText, tokenizer.decode_batch(rows, skip_special_tokens=False), scores.tolist()))
    return [texts[first : first + results] for first in range(0, len(texts), results)]
