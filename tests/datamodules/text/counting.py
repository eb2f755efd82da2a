"""A task whose texts tell which example they are, a tokenizer for it, and what batches and tables of it hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from datamodules.text.preparation import Preparation
from datamodules.text.tasks import Example, Split, TextTask
from datamodules.text.token_table import TokenTable
from datamodules.text.tokenizer import train_tokenizer
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from tests.datamodules.trainers import fake_trainer
from utils.batches import Seq2SeqBatch

WORDS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905


class Counting(TextTask):
    """Sources of different lengths that begin with their number, and references that spell it.

    Reference k of a source begins with k + 1 times the k-th word, so that it can be told which one it is.
    """

    def __init__(self, size: int = 45, prefix: str = "say: ", weight: float = 1.0, references: int = 1) -> None:
        super().__init__(prefix, weight)
        self.size = size
        self.count = references

    def examples(self, split: Split) -> list[Example]:
        return [
            Example(
                f"{number} " + "x " * (number % 11),
                tuple(self.reference(number, which) for which in range(self.count)),
            )
            for number in range(self.size)
        ]

    def reference(self, number: int, which: int = 0) -> str:
        return " ".join([*[WORDS[which]] * (which + 1), *(WORDS[int(digit)] for digit in str(number))])


TOKENIZER = train_tokenizer(
    [text for number in range(200) for text in (f"say: {number} x", Counting().reference(number))], 420, "bpe", 20
)


def prepare(**changes: Any) -> Preparation:
    """Return a preparation with this tokenizer and short maximum lengths."""
    settings: dict[str, Any] = {
        "tokenizer": TOKENIZER,
        "max_source_length": 24,
        "max_target_length": 16,
        "over_length": "truncate",
        "bpe_dropout": 0.0,
        "seed": 5,
        "cache_dir": None,
    }
    return Preparation(**settings | changes)


def make_data(task: TextTask, tokenizer: str | None, **options: Any) -> TextSeq2SeqDataModule:
    """Return a datamodule with short maximum lengths and small batches."""
    defaults: dict[str, Any] = {
        "max_source_length": 24,
        "max_target_length": 16,
        "batch_tokens": 160,
        "eval_batch_tokens": 120,
        "cache_dir": None,
        "seed": 5,
    }
    return TextSeq2SeqDataModule(task, tokenizer, **defaults | options)


def rows(table: TokenTable) -> list[list[int]]:
    return [table.row(number).tolist() for number in range(len(table))]


def decode(ids: np.ndarray | Tensor) -> str:
    """Return the text of token ids, without padding of any kind."""
    return TOKENIZER.decode([max(token, 0) for token in ids.tolist()])


def numbers(batches: Iterable[Seq2SeqBatch]) -> list[int]:
    """Return the numbers that the sources of batches begin with, after a prefix of one word."""
    return [int(decode(row).split()[1]) for batch in batches for row in batch.input_ids]


def attach(module: TextSeq2SeqDataModule, rank: int = 0, world_size: int = 1, **changes: Any) -> TextSeq2SeqDataModule:
    """Give a datamodule a fake trainer."""
    module.trainer = fake_trainer(rank, world_size, **changes)
    return module
