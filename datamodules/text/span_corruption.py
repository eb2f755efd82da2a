"""Span corruption: pre-training on plain text, in which a model restores spans that were removed.

Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. JMLR 2020.
arXiv:1910.10683, section 3.1.4; the lengths of spans follow `random_spans_noise_mask` of the code published with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datamodules.text.evaluation_texts import EvaluationTexts
from datamodules.text.examples import PlainTexts, source_texts
from datamodules.text.lines import FilledLines, open_lines
from datamodules.text.preparation import Preparation
from datamodules.text.tasks import Example, Split, TextTask
from datamodules.text.token_table import TokenTable
from datamodules.text.tokenizer import sentinel_ids
from datamodules.text.training_pairs import Draws, Pair, TrainingPart
from utils.checks import check_at_least
from utils.random_streams import numpy_generator
from utils.tokenizer_files import EOS_ID


class SpanCorruption(TextTask):
    """Plain text in which spans are replaced by sentinels; the target has each sentinel with the span it replaces.

    The text is read as one stream of tokens and divided into the longest segments whose corrupted form fits
    `max_source_length` and `max_target_length`. Spans are drawn again in each epoch of training, and once for
    validation and test. As in the published code, a segment ends with a removed span: if it has only one, that is the
    end.

    The text may be larger than memory: a plain file is never read whole, and neither are its tokens, which are in a
    file in `data.cache_dir` (2 bytes per token, or 4 if the vocabulary has more than 65,536). A compressed text is
    unpacked in memory, and without `data.cache_dir` so are the tokens. Each line takes some ten bytes.

    Args:
        train: File of the training text, UTF-8, plain or gzip. Line breaks count as spaces, and blank lines are
            skipped.
        val: File of the validation text.
        test: File of the test text; may be null unless `test` is run.
        noise_density: Fraction of the tokens to remove, above 0 and below 1.
        mean_span_length: Mean number of tokens in a span, at least 1.
        weight: Number of times that each segment occurs in an epoch, above 0. With 0.5, an epoch has one half of the
            segments and the next epoch the other half.

    Raises:
        ValueError: A number is out of range.
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
            raise ValueError(f"SpanCorruption: noise_density must be a number above 0 and below 1, got {noise_density}")
        self.files = {"train": train, "val": val, "test": test}
        self.noise_density = noise_density
        self.mean_span_length = check_at_least("SpanCorruption: mean_span_length", mean_span_length, 1)

    def path(self, split: Split) -> str:
        """Return the file of a split."""
        return str(self.files[split])

    def examples(self, split: Split) -> PlainTexts:
        """Return the lines of the text, without references: how they become segments depends on the tokenizer."""
        path = self.require_file(self.files[split], split, split)
        lines = FilledLines(open_lines(path, split))
        if not lines:
            raise ValueError(f"{split}: {path} contains only blank lines: it must contain text")
        return PlainTexts(lines)

    def training_part(self, examples: Sequence[Example], part: int, preparation: Preparation) -> TrainingPart:
        """Return segments of the text, corrupted again each time they are used."""
        segments, sentinels = self._segments(examples, "train", preparation)
        return Segments(segments, self, sentinels, preparation.seed, part)

    def evaluation_texts(self, examples: Sequence[Example], split: Split, preparation: Preparation) -> EvaluationTexts:
        """Return segments of the text with the same spans in every run, whatever its seed: scores are comparable."""
        segments, sentinels = self._segments(examples, split, preparation)
        pairs = [
            self.corrupt(segments.row(number), sentinels, EOS_ID, numpy_generator("evaluation_spans", 0, number))
            for number in range(len(segments))
        ]

        def text(ids: np.ndarray) -> str:
            return preparation.tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False)

        preparation.report_ungenerable(split, np.array([len(target) for _, target in pairs]))
        return EvaluationTexts(
            TokenTable.of([source.tolist() for source, _ in pairs]),
            TokenTable.of([target.tolist() for _, target in pairs]),
            [text(source) for source, _ in pairs],
            [(text(target),) for _, target in pairs],
            np.arange(len(pairs)),
        )

    def _segments(
        self, examples: Sequence[Example], split: Split, preparation: Preparation
    ) -> tuple[TokenTable, list[int]]:
        """Divide the text, as one stream of tokens, into segments that fit the maximum lengths once corrupted.

        Returns:
            (segments without ends of sequence, ids of the sentinels).

        Raises:
            ValueError: The tokenizer has too few sentinels, or the text too few tokens.
        """
        length = self.segment_length(preparation.max_source_length, preparation.max_target_length)
        sentinels = sentinel_ids(preparation.tokenizer)
        needed = self.span_counts(length)[1]
        if len(sentinels) < needed:
            raise ValueError(
                f"SpanCorruption needs {needed} sentinels for segments of {length} tokens, but the tokenizer has "
                f"{len(sentinels)}: set data.num_sentinels to at least {needed}, or use a tokenizer with more"
            )
        stream = preparation.encode_stream(source_texts(examples, self.prefix), f"{split} texts")
        if len(stream) % length == 1:  # a single token cannot be both kept and removed
            stream = stream[:-1]
        if not len(stream):
            raise ValueError("SpanCorruption: the text has fewer than two tokens: use a longer one")
        sizes = np.diff(np.append(np.arange(0, len(stream), length), len(stream)))  # equal, but for the last one
        return TokenTable.stored(stream, sizes), sentinels

    def span_counts(self, length: int) -> tuple[int, int]:
        """Return (number of tokens removed, number of spans) for a segment of `length` >= 2 tokens."""
        noise = min(max(round(length * self.noise_density), 1), length - 1)
        spans = min(max(round(noise / self.mean_span_length), 1), noise, length - noise)
        return noise, spans

    def corrupted_lengths(self, length: int) -> tuple[int, int]:
        """Return the lengths of source and target made from `length` >= 2 tokens, ends of sequence included."""
        noise, spans = self.span_counts(length)
        return length - noise + spans + 1, noise + spans + 1

    def segment_length(self, max_source_length: int, max_target_length: int) -> int:
        """Return the length of the longest segment that fits once corrupted.

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
                "data.max_source_length and data.max_target_length must be at least 3 for SpanCorruption, got "
                f"{max_source_length} and {max_target_length}"
            )
        return length

    def corrupt(self, ids: np.ndarray, sentinels: Sequence[int], eos: int, generator: np.random.Generator) -> Pair:
        """Return (source, target) made from a segment, both with `eos` at the end."""
        noise, spans = self.span_counts(len(ids))
        mask = random_spans(len(ids), noise, spans, generator)
        end = np.array([eos], ids.dtype)
        source = replace_spans(ids, mask, sentinels)
        target = replace_spans(ids, ~mask, sentinels)
        return np.concatenate([source, end]), np.concatenate([target, end])


def random_spans(length: int, noise: int, spans: int, generator: np.random.Generator) -> np.ndarray:
    """Return a mask, bool [length], of `noise` removed positions in `spans` spans.

    Kept and removed spans alternate, a kept one first and a removed one last. Each kind is divided into `spans` lengths
    of at least 1, every division with the same probability.
    """
    lengths = np.stack([_divide(length - noise, spans, generator), _divide(noise, spans, generator)], axis=1)
    return np.repeat(np.tile([False, True], spans), lengths.flatten())


def _divide(total: int, parts: int, generator: np.random.Generator) -> np.ndarray:
    """Return a random division of `total` into `parts` integers of at least 1."""
    ends = np.sort(generator.permutation(total - 1)[: parts - 1]) + 1
    return np.diff(ends, prepend=0, append=total)


def replace_spans(ids: np.ndarray, mask: np.ndarray, sentinels: Sequence[int]) -> np.ndarray:
    """Return the ids with each span where `mask` is true replaced by one sentinel, the n-th by `sentinels[n]`."""
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    replaced = ids.copy()
    replaced[starts] = np.asarray(sentinels[: int(starts.sum())], ids.dtype)
    shortened: np.ndarray = replaced[starts | ~mask]
    return shortened


class Segments(TrainingPart):
    """Segments of plain text, corrupted again each time they are used.

    Args:
        segments: Ids of the segments, without ends of sequence.
        task: How they are corrupted.
        sentinels: Ids of `<extra_id_0>`, `<extra_id_1>`, ...
        seed: Seed of the spans, together with `part`.
        part: Number of the task, counted from 0.
    """

    def __init__(self, segments: TokenTable, task: SpanCorruption, sentinels: list[int], seed: int, part: int) -> None:
        self.segments = segments
        self.task = task
        self.weight = task.weight
        self.sentinels = sentinels
        self._key = (seed, part)
        sizes, kinds = np.unique(segments.lengths(), return_inverse=True)
        self._corrupted = np.array([task.corrupted_lengths(size) for size in sizes.tolist()], np.int64).reshape(-1, 2)
        self._kinds = kinds.astype(np.uint8)  # row of each segment in `_corrupted`; all but the last have one length

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.segments)

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of tokens of the corrupted sources and of their targets, both int64 [N]."""
        sources, targets = self._corrupted[self._kinds[draws.positions]].T
        return sources, targets

    def pair(self, cycle: int, position: int) -> Pair:
        """Return the segment at `position` as it is corrupted in a cycle."""
        generator = numpy_generator("spans", *self._key, cycle, position)
        return self.task.corrupt(self.segments.row(position), self.sentinels, EOS_ID, generator)
