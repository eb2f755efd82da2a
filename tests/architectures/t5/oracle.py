"""Helpers: pairs of our T5 and transformers' with the same random weights, for configs in which they might differ."""

import random
from typing import Any

import torch
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import published_name
from architectures.t5.model import T5
from benchmarks.transformers_t5 import make_theirs

SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
}
"""Small config with few buckets, so that a dozen tokens reach the logarithmic ones and exceed the maximum distance."""

CONFIGS = {
    "tied": T5Config(**SMALL),
    "untied-gated": T5Config(**SMALL | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "tied-gated-unscaled": T5Config(**SMALL | {"feed_forward_proj": "gated-gelu", "scale_decoder_outputs": False}),
    "untied-scaled": T5Config(**SMALL | {"tie_word_embeddings": False, "scale_decoder_outputs": True}),
    "decoder-deeper": T5Config(**SMALL | {"num_layers": 1, "num_decoder_layers": 3}),
    "encoder-deeper": T5Config(**SMALL | {"num_layers": 3, "num_decoder_layers": 1}),
    "wide-heads": T5Config(**SMALL | {"d_kv": 7, "num_heads": 3, "relative_attention_num_buckets": 7}),
    "odd-buckets": T5Config(
        **SMALL
        | {"relative_attention_num_buckets": 5, "relative_attention_max_distance": 3, "layer_norm_epsilon": 1e-3}
    ),
}


def make_pair(config: T5Config, seed: int = 0) -> tuple[T5, Any]:
    """Return (ours, theirs) in evaluation mode with equal random weights, including norms and position biases."""
    ours = T5(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(ours.named_parameters()):
            if weight.ndim == 1:
                weight.uniform_(0.5, 1.5, generator=generator)
            else:
                std = 1.0 if "embedding" in name else weight.shape[1] ** -0.5
                if name.endswith((".o.weight", ".wo.weight")):
                    std *= 3  # otherwise a model with tied weights only repeats the token it reads
                weight.normal_(0.0, std, generator=generator)
    theirs = make_theirs(config)
    if not config.tie_word_embeddings:
        theirs.lm_head.weight = torch.nn.Parameter(theirs.lm_head.weight.detach().clone())
    published = {published_name(name): weight for name, weight in ours.state_dict().items()}
    result = theirs.load_state_dict(published, strict=False)
    assert not result.unexpected_keys
    assert all("embed_tokens" in key or key == "lm_head.weight" for key in result.missing_keys)
    return ours, theirs


def random_config(seed: int, widths: tuple[int, int] = (32, 128)) -> T5Config:
    """Return a config with random sizes and `d_model` within `widths`."""
    generator = random.Random(seed)
    d_model = generator.randint(*widths)
    return T5Config(
        vocab_size=generator.randint(50, 500),
        d_model=d_model,
        d_kv=generator.randint(8, 64),
        d_ff=generator.randint(d_model, 4 * d_model),
        num_layers=generator.randint(1, 4),
        num_decoder_layers=generator.randint(1, 4),
        num_heads=generator.randint(2, 6),
        relative_attention_num_buckets=generator.randint(4, 32),
        feed_forward_proj=generator.choice(("relu", "gated-gelu")),
        scale_decoder_outputs=generator.choice((True, False)),
    )


def random_batch(vocab_size: int, batch: int = 5, source: int = 13, target: int = 11, seed: int = 0) -> dict[str, Any]:
    """Return random sources and targets of many lengths, padded on the right; tokens from 2 are text, 1 is the end."""
    generator = torch.Generator().manual_seed(seed)

    def rows(length: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(2, vocab_size, (batch, length), generator=generator)
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
        lengths[0] = length
        mask = torch.arange(length) < lengths[:, None]
        tokens[torch.arange(batch), lengths - 1] = 1
        return tokens * mask, mask.long()

    input_ids, attention_mask = rows(source)
    targets, target_mask = rows(target)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": targets.masked_fill(target_mask == 0, -100),
    }
