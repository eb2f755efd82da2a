"""Span corruption: learning from plain text by putting back what was taken out of it.

Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. JMLR 2020.
arXiv:1910.10683, section 3.1.4, and for the lengths of spans `random_spans_noise_mask` of the code published with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datamodules.text.evaluation_texts import EvaluationTexts
from datamodules.text.files import read_lines
from datamodules.text.preparation import Preparation
from datamodules.text.tasks import Example, Split, TextTask
from datamodules.text.token_table import TokenTable
from datamodules.text.tokenizer import sentinel_ids
from datamodules.text.training_pairs import Draws, Pair, TrainingPart
from utils.random_streams import numpy_generator
from utils.tokenizer_files import EOS_ID


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
        path = self._require(self.files[split], split, split)
        lines = [line for line in read_lines(path, split) if line.strip()]
        if not lines:
            raise ValueError(f"{split}: {path} has only empty lines: it must hold text")
        return [Example(line, ()) for line in lines]

    def training_part(self, examples: list[Example], part: int, preparation: Preparation) -> TrainingPart:
        """Return segments of the text, corrupted again each time they come up."""
        segments, sentinels = self._segments(examples, preparation)
        return Segments(segments, self, sentinels, preparation.seed, part)

    def evaluation_texts(self, examples: list[Example], split: Split, preparation: Preparation) -> EvaluationTexts:
        """Return segments with the same spans in every run, whatever its seed, so that scores can be compared."""
        segments, sentinels = self._segments(examples, preparation)
        pairs = [
            self.corrupt(segments.row(number), sentinels, EOS_ID, numpy_generator("evaluation_spans", 0, number))
            for number in range(len(segments))
        ]

        def text(ids: np.ndarray) -> str:
            return preparation.tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False)

        return EvaluationTexts(
            TokenTable.of([source.tolist() for source, _ in pairs]),
            TokenTable.of([target.tolist() for _, target in pairs]),
            [text(source) for source, _ in pairs],
            [(text(target),) for _, target in pairs],
            np.arange(len(pairs)),
        )

    def _segments(self, examples: list[Example], preparation: Preparation) -> tuple[TokenTable, list[int]]:
        """Divide the text, as one stream of tokens, into segments that fit once corrupted.

        Returns:
            (segments without ends of sequence, ids of the sentinels).

        Raises:
            ValueError: The tokenizer has too few sentinels, or the text too few tokens.
        """
        length = self.segment_length(preparation.max_source_length, preparation.max_target_length)
        sentinels = sentinel_ids(preparation.tokenizer)
        needed = self.span_counts(length)[1] + 1
        if len(sentinels) < needed:
            raise ValueError(
                f"SpanCorruption needs {needed} sentinels for segments of {length} tokens, and the tokenizer has "
                f"{len(sentinels)}: set data.num_sentinels to at least {needed}, or use a tokenizer with more"
            )
        ids = preparation.encode([example.source for example in examples]).ids
        stream = ids[ids != EOS_ID]
        if len(stream) % length == 1:  # a single token cannot be both kept and removed
            stream = stream[:-1]
        if not len(stream):
            raise ValueError("SpanCorruption: the text has fewer than two tokens")
        starts = np.append(np.arange(0, len(stream), length), len(stream))
        return TokenTable(stream, starts), sentinels

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


class Segments(TrainingPart):
    """Segments of plain text, corrupted again each time they come up.

    Args:
        segments: Ids of the segments, without ends of sequence.
        task: How to corrupt them.
        sentinels: Ids of `<extra_id_0>`, ...
        seed: Seed of the spans, together with `part`.
        part: Number of the task.
    """

    def __init__(self, segments: TokenTable, task: SpanCorruption, sentinels: list[int], seed: int, part: int) -> None:
        self.segments = segments
        self.task = task
        self.weight = task.weight
        self.sentinels = sentinels
        self._key = (seed, part)
        lengths = [task.corrupted_lengths(int(length)) for length in segments.lengths()]
        self._lengths = np.array(lengths, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.segments)

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """See `TrainingPart.lengths`."""
        sources, targets = self._lengths[draws.positions].T
        return sources, targets

    def pair(self, cycle: int, position: int) -> Pair:
        """See `TrainingPart.pair`."""
        generator = numpy_generator("spans", *self._key, cycle, position)
        return self.task.corrupt(self.segments.row(position), self.sentinels, EOS_ID, generator)
