"""Span corruption: learning from plain text by putting back what was taken out of it.

Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. JMLR 2020.
arXiv:1910.10683, section 3.1.4, and for the lengths of spans `random_spans_noise_mask` of the code published with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datamodules.text_files import read_lines
from datamodules.text_tasks import Example, Split, TextTask


class SpanCorruption(TextTask):
    """Plain text in which spans are replaced by sentinels; the target gives each sentinel and what it stands for.

    The text is read as one stream of tokens and cut into segments whose corrupted form just fits `max_source_length`
    and `max_target_length`. Spans are drawn anew in each epoch for training, and once for validation and test. As in
    the published code a segment ends with a span taken out: where there is room for one span only, it is always that.

    Args:
        train: Training text; plain text or gzip, UTF-8. Line breaks count as spaces, and empty lines for nothing.
        val: Validation text.
        test: Test text; needed for `test` only.
        noise_density: Share of the tokens that is taken out.
        mean_span_length: Mean number of tokens in a span.
        weight: How often an epoch has each segment. 1: once. 2: twice. 0.5: half of the segments in one epoch, the
            other half in the next.
    """

    def __init__(
        self,
        train: str,
        val: str,
        test: str | None = None,
        noise_density: float = 0.15,
        mean_span_length: float = 3.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        if not 0 < noise_density < 1:
            raise ValueError(f"SpanCorruption: noise_density is {noise_density}: it must be between 0 and 1")
        if not 1 <= mean_span_length < float("inf"):
            raise ValueError(f"SpanCorruption: mean_span_length is {mean_span_length}: it must be at least 1")
        self.files = {"train": train, "val": val, "test": test}
        self.noise_density = noise_density
        self.mean_span_length = mean_span_length

    def examples(self, split: Split) -> list[Example]:
        """The lines of the text, without references: the segments cut from them depend on the tokenizer."""
        path = self._checked(split, self.files[split], split)
        lines = [line for line in read_lines(path, split) if line.strip()]
        if not lines:
            raise ValueError(f"{split}: {path} has only empty lines: it must hold text")
        return [Example(line, ()) for line in lines]

    def span_counts(self, length: int) -> tuple[int, int]:
        """(tokens taken out, spans they form) of a segment of `length` >= 2 tokens."""
        noise = min(max(round(length * self.noise_density), 1), length - 1)
        spans = min(max(round(noise / self.mean_span_length), 1), noise, length - noise)
        return noise, spans

    def corrupted_lengths(self, length: int) -> tuple[int, int]:
        """Lengths of source and target made from a segment of `length` >= 2 tokens, ends included."""
        noise, spans = self.span_counts(length)
        return length - noise + spans + 1, noise + spans + 1

    def segment_length(self, max_source_length: int, max_target_length: int) -> int:
        """The longest segment that fits when corrupted.

        Raises:
            ValueError: Not even two tokens fit.
        """
        length = 1
        while True:
            source, target = self.corrupted_lengths(length + 1)
            if source > max_source_length or target > max_target_length:
                break
            length += 1
        if length < 2:
            raise ValueError(
                f"SpanCorruption needs room: max_source_length {max_source_length} and max_target_length "
                f"{max_target_length} must be at least 3"
            )
        return length

    def corrupt(
        self, ids: np.ndarray, sentinels: Sequence[int], eos: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(source, target) of a segment, both with `eos` at the end."""
        noise, spans = self.span_counts(len(ids))
        mask = random_spans(len(ids), noise, spans, generator)
        end = np.array([eos], ids.dtype)
        source = replace_spans(ids, mask, sentinels)
        target = replace_spans(ids, ~mask, sentinels)
        return np.concatenate([source, end]), np.concatenate([target, end])


def random_spans(length: int, noise: int, spans: int, generator: np.random.Generator) -> np.ndarray:
    """A mask, bool [length], of `noise` positions in `spans` spans.

    Kept and taken runs alternate, a kept one first and a taken one last; each kind is divided into `spans` parts of at
    least 1, every division as likely.
    """
    lengths = np.stack([_division(length - noise, spans, generator), _division(noise, spans, generator)], axis=1)
    return np.repeat(np.tile([False, True], spans), lengths.flatten())


def _division(total: int, parts: int, generator: np.random.Generator) -> np.ndarray:
    cuts = np.sort(generator.permutation(total - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def replace_spans(ids: np.ndarray, mask: np.ndarray, sentinels: Sequence[int]) -> np.ndarray:
    """The ids with each run where `mask` holds replaced by one sentinel: the first by sentinels[0], and so on."""
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    replaced = ids.copy()
    replaced[starts] = np.asarray(sentinels[: int(starts.sum())], ids.dtype)
    return replaced[starts | ~mask]
