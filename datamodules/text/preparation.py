"""How the texts of a task become token ids: the tokenizer, the maximum lengths and what happens to longer texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.text.token_cache import encode_texts
from datamodules.text.token_table import TokenTable
from datamodules.text.unknown_text import warn_of_unknown_text
from utils.tokenizer_files import EOS_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OverLength = Literal["truncate", "drop"]
"""What happens to a training pair that is too long: its long texts are truncated, or the pair is dropped."""


@dataclass(frozen=True)
class Preparation:
    """Settings of a datamodule by which its tasks prepare their texts.

    Attributes:
        tokenizer: The run's tokenizer.
        max_source_length, max_target_length: Maximum lengths in tokens, end of sequence included.
        over_length: What happens to longer training pairs.
        bpe_dropout: Probability of skipping each merge in training.
        seed: The run's seed.
        cache_dir: Folder of the token cache; None disables it.
        max_generated: Maximum length of a text that the model generates, in tokens; None if unknown.
    """

    tokenizer: Tokenizer
    max_source_length: int
    max_target_length: int
    over_length: OverLength
    bpe_dropout: float
    seed: int
    cache_dir: str | None
    max_generated: int | None = None

    def encode(self, texts: Sequence[str], what: str) -> TokenTable:
        """Return the ids of texts, each with the end of the sequence.

        Args:
            texts: The texts.
            what: What they are, such as "train targets", for a warning if the tokenizer does not know some characters.
        """
        table = encode_texts(self.tokenizer, texts, self.cache_dir)
        warn_of_unknown_text(self.tokenizer, texts, table, what)
        return table

    def encode_stream(self, texts: Sequence[str], what: str) -> np.ndarray:
        """Return the ids of texts, one after the other and without ends of sequence, [total]; arguments as `encode`.

        With a cache, they stay in its file, of which the system only reads the parts in use.
        """
        table = encode_texts(self.tokenizer, texts, self.cache_dir, dropped=EOS_ID)
        warn_of_unknown_text(self.tokenizer, texts, table, what)
        return table.ids

    def report_long(
        self, what: str, long_sources: np.ndarray, long_targets: np.ndarray, done: str = "truncated"
    ) -> None:
        """Warn how many texts are over the maximum lengths.

        Args:
            what: The split or the file that the texts come from.
            long_sources: Whether each source is too long, bool.
            long_targets: Whether each target is too long, bool.
            done: What happened to them.
        """
        for name, long, limit in (
            ("source", long_sources, self.max_source_length),
            ("target", long_targets, self.max_target_length),
        ):
            if long.any():
                count = f"{long.sum():,} of {len(long):,} {name}s"
                rank_zero_warn(f"{what}: {count} exceed data.max_{name}_length {limit} and are {done}")

    def report_ungenerable(self, what: str, lengths: np.ndarray) -> None:
        """Warn how many targets, of these lengths in tokens, the model cannot generate whole.

        If it can generate any text of the maximum target length, `report_long` has already warned of the longer ones.
        """
        if self.max_generated is None or self.max_generated >= self.max_target_length:
            return
        long = int((lengths > self.max_generated).sum())
        if long:
            rank_zero_warn(
                f"{what}: {long:,} of {len(lengths):,} targets exceed model.max_length {self.max_generated}, the "
                "maximum length of a generated text: raise it"
            )
