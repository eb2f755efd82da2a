"""Batches that datamodules yield, and what the steps of LightningModules return for callbacks to read.

Legend of shapes: B examples of a batch, C classes, H x W pixels, S tokens of the longest source, T of the longest
target, both rounded up.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, TypeGuard

import numpy as np
from torch import Tensor

IGNORED = -100
"""Label of a position that is not scored: torch's default `ignore_index`."""


# --- images --------------------------------------------------------------------------------------------------------


class RawImageBatch(NamedTuple):
    """Training images on their way to the device, where augmentation turns them into an `ImageBatch`.

    Attributes:
        images: uint8 [B, 3, H, W].
        labels: int64 [B].
        positions: Place of each image in the training set, int64 [B]. Not a tensor, so that it stays on the CPU, where
            augmentation draws its random numbers.
        epoch: Epoch, counted from 0.
        step: Number of the batch within the epoch, counted from 0.
    """

    images: Tensor
    labels: Tensor
    positions: np.ndarray
    epoch: int
    step: int


class ImageBatch(NamedTuple):
    """Images and their labels.

    Attributes:
        images: Pixels from 0 to 255, uint8 or float32 [B, 3, H, W].
        labels: Classes, int64 [B], or distributions over them, float [B, C], where MixUp or CutMix blended two images.
    """

    images: Tensor
    labels: Tensor


class ImagePredictionBatch(NamedTuple):
    """Images to predict.

    Attributes:
        images: uint8 [B, 3, H, W].
        labels: int64 [B], -1 where unknown.
        index: Place of each image in the data, int64 [B].
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides a method of tuples


class Classified(TypedDict):
    """What a step of an image classifier returns.

    Keys:
        probabilities: float [B, C].
        labels: int64 [B], -1 where unknown.
        loss: Mean cross-entropy (validation and test).
        images: uint8 [B, 3, H, W] (validation and test).
        probabilities_tta: float [B, C] with test-time augmentation (test, where it is on).
        index: Place of each image in the data, int64 [B] (prediction).
    """

    probabilities: Tensor
    labels: Tensor
    loss: NotRequired[Tensor]
    images: NotRequired[Tensor]
    probabilities_tta: NotRequired[Tensor]
    index: NotRequired[Tensor]


# --- text ----------------------------------------------------------------------------------------------------------


class Seq2SeqBatch(NamedTuple):
    """Pairs of texts.

    Attributes:
        input_ids: Prefix, source and end of sequence, int64 [B, S], padded with 0.
        attention_mask: True at tokens, bool [B, S].
        labels: Target and end of sequence, int64 [B, T], padded with `IGNORED`; [B, 0] in prediction.
        index: Place of each example in its split (in prediction the number of its line, from 0), int64 [B]; in training
            the number of the pair in the epoch plan.
        sources: The sources without prefix; empty in training.
        references: The references of each source; empty in training and prediction.
        step_tokens: Target tokens of the whole optimizer step that this batch is part of, over all processes and all
            accumulated batches; 0 outside training.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides a method of tuples
    sources: list[str]
    references: list[tuple[str, ...]]
    step_tokens: int


class CharBatch(NamedTuple):
    """The next steps of B streams of characters.

    Attributes:
        characters: Ids, int64 [B, T].
        targets: Ids of the characters that follow each, int64 [B, T]; `IGNORED` where there is none.
    """

    characters: Tensor
    targets: Tensor


class PromptBatch(NamedTuple):
    """A prompt to continue.

    Attributes:
        prompt: Ids of its characters, int64 [1, T].
        index: Number of its line, from 0, int64 [1].
    """

    prompt: Tensor
    index: Tensor  # type: ignore[assignment]  # hides a method of tuples


class ScoredText(NamedTuple):
    """A text that a model generated.

    Attributes:
        text: The text.
        score: Sum of the log-probabilities of its tokens divided by length**length_penalty.
    """

    text: str
    score: float


class Hypotheses(TypedDict):
    """What a prediction step of a text model returns.

    Keys:
        index: Number of each source's line, from 0, int64 [B].
        hypotheses: What the model generated for each: the best text.
        n_best: All texts that were asked for, best first in a search; left out by models without scores.
        sources: What the model read, without the task's prefix; left out with `n_best`.
    """

    index: Tensor
    hypotheses: list[str]
    n_best: NotRequired[list[list[ScoredText]]]
    sources: NotRequired[list[str]]


class GeneratedText(NamedTuple):
    """What a model generated for one example of a validation or a test.

    Attributes:
        index: The example's place in its split.
        source: What the model read, without the task's prefix.
        references: What it should have generated.
        hypothesis: What it did generate.
        score: Sum of the log-probabilities divided by length**length_penalty; None where there is none.
    """

    index: int  # type: ignore[assignment]  # hides a method of tuples
    source: str
    references: tuple[str, ...]
    hypothesis: str
    score: float | None = None


# --- reading -------------------------------------------------------------------------------------------------------


def is_classified(outputs: object) -> TypeGuard[Classified]:
    """Return whether a step's outputs are those of an image classifier."""
    return isinstance(outputs, Mapping) and outputs.keys() >= Classified.__required_keys__


def is_hypotheses(outputs: object) -> TypeGuard[Hypotheses]:
    """Return whether a step's outputs are texts that a model generated."""
    return isinstance(outputs, Mapping) and outputs.keys() >= Hypotheses.__required_keys__


def count_examples(batch: object) -> int:
    """Return the number of examples in a batch: the first dimension of its first tensor that has one (0 if none has).

    Args:
        batch: A tensor, or any nesting of mappings, sequences and dataclasses around tensors.
    """
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.ndim else 0
    parts: Any
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        parts = [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    elif isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        parts = batch
    else:
        return 0
    return next((count for part in parts if (count := count_examples(part))), 0)
