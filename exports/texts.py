"""The input of an exported T5 in words, and texts on which an export is compared."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer

from lightning_modules.text_seq2seq import TextSeq2Seq
from oneforall.text_model import TextModel

EXAMPLE = "A man is sleeping."

SAMPLES, SAMPLE_LENGTH = 15, 12
"""Number of random texts to compare an export on, and the length of each in tokens."""


def describe_source(model: TextModel) -> str:
    """Return a description of the input of an export."""
    limit = f" of at most {model.max_source_length} tokens" if model.max_source_length else ""
    prefixes = [repr(prefix) for prefix in model.prefixes if prefix]
    return f"text{limit}" + (f", which begins with {' or '.join(prefixes)}" if prefixes else "")


def example_source(model: TextModel) -> str:
    """Return a source as a Python literal."""
    return repr(model.prefixes[0] + EXAMPLE)


def tokenizer_of(module: TextSeq2Seq) -> Tokenizer:
    """Return the tokenizer of a trained module.

    Raises:
        ValueError: It has none.
    """
    if module.tokenizer is None:
        raise ValueError("the checkpoint has no tokenizer: its model has not been trained")
    return module.tokenizer


def decoding_options(module: TextSeq2Seq) -> dict[str, Any]:
    """Return the options of the search in `test`; `max_length` counts the end token, not the start token."""
    return {name: value for name, value in module.test_settings().items() if name != "decode_precision"}


def sample_texts(tokenizer: Tokenizer) -> list[str]:
    """Return the example, and texts of random tokens of the vocabulary, the same each time."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(tokenizer.get_vocab_size(), (SAMPLES, SAMPLE_LENGTH), generator=generator)
    texts = tokenizer.decode_batch(ids.tolist(), skip_special_tokens=True)
    return [EXAMPLE, *(text for text in texts if text.strip())]
