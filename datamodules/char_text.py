"""Datamodule for character language models: streams of characters from any text file, and prompts to continue."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from datamodules.loader import BatchLoader, evaluation_loader, training_position
from datamodules.text.char_streams import encode, evaluation_streams, training_positions
from datamodules.text.files import read_text
from datamodules.text.prediction_input import PredictionInput, Record
from datamodules.trainer_state import device_of, model_of, stage_of
from utils.batches import CharBatch, PromptBatch
from utils.checks import check_int, check_positive_int
from utils.contracts import (
    DataSource,
    DescribesTestData,
    IdentifiesTrainingData,
    PredictsLines,
    ProvidesCharacters,
    UsesVocabulary,
)
from utils.digests import digest_of
from utils.distributed import rank_and_world_size
from utils.resume_position import checksum

SPLITS = {"train": "training", "val": "validation", "test": "test"}


class CharTextDataModule(
    LightningDataModule, ProvidesCharacters, PredictsLines, IdentifiesTrainingData, DescribesTestData
):
    """One text for models that read characters: its beginning for training, then validation, its end for the test.

    Each split is read as contiguous streams side by side: batch k + 1 continues where batch k stopped, so that a model
    can keep its hidden state from batch to batch (truncated backpropagation through time). The state is reset at the
    first batch.

    Args:
        path: A text file, UTF-8, plain or gzip; if null, the English documentation that comes with Python
            (`pydoc_data.topics`, 0.5 MB).
        sequence_length: Number of characters of each stream in a batch: how far back gradients reach.
        batch_size: Number of streams that the training text is divided into, per process. Characters that do not fill a
            batch are skipped, different ones in each epoch.
        eval_batch_size: Number of streams that the validation and the test text are divided into. One process reads all
            of them, because the number read side by side affects the last digits of the score.
        validation_fraction: Fraction of the text for validation, above 0 and below 1.
        test_fraction: Fraction of the text for the test, above 0 and below 1.
        seed: Seed of the position at which each epoch begins.
        predict_path: Prompts for `predict`, UTF-8, plain or gzip: a text file with one prompt per line, or a .tsv, .csv
            (both with a header) or .jsonl with a column (or key) `prompt`. It may be a pipe, such as /dev/stdin. Blank
            prompts are skipped.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        path: str | None = None,
        sequence_length: int = 100,
        batch_size: int = 32,
        eval_batch_size: int = 16,
        validation_fraction: float = 0.05,
        test_fraction: float = 0.05,
        seed: int = 0,
        predict_path: str | None = None,
    ) -> None:
        super().__init__()
        for name, share in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
            if not 0 < share < 1:
                raise ValueError(f"data.{name} must be a number above 0 and below 1, got {share}")
        if validation_fraction + test_fraction >= 1:
            raise ValueError(
                "data.validation_fraction and data.test_fraction must add up to less than 1 to leave text for "
                f"training, got {validation_fraction} and {test_fraction}"
            )
        self.path = path
        self.sequence_length = check_positive_int("data.sequence_length", sequence_length)
        self.batch_size = check_positive_int("data.batch_size", batch_size)
        self.eval_batch_size = check_positive_int("data.eval_batch_size", eval_batch_size)
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.seed = check_int("data.seed", seed)
        self.predict_path = predict_path
        self.predict_count = 0
        self.prepare_data_per_node = False
        self._text: str | None = None
        self._vocabulary: str | None = None
        self._prediction_input: PredictionInput | None = None

    @property
    def text(self) -> str:
        """The whole text, read on first use.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: It is not UTF-8 (the message names the line), or too short.
        """
        if self._text is None:
            self._text = read_text(self.path, "data.path") if self.path is not None else python_documentation()
            if len(self._text) < 2:
                raise ValueError(f"{self._source} is too short: it needs at least 2 characters, got {len(self._text)}")
        return self._text

    @property
    def vocabulary(self) -> str:
        """Every character of the text once, sorted by code point; the id of a character is its position in it."""
        if self._vocabulary is None:  # cached because `isinstance` with a protocol also reads it
            self._vocabulary = "".join(sorted(set(self.text)))
        return self._vocabulary

    @property
    def _source(self) -> str:
        """Name of the text in errors."""
        return f"data.path: {self.path or 'pydoc_data.topics'}"

    def prepare_data(self) -> None:
        """Read the prompts before a prediction; the Trainer calls this on one process only."""
        if stage_of(self.trainer) == "predict":
            self._prompts()

    def setup(self, stage: str) -> None:
        """Check before a fit that the text is long enough, and before a prediction that there are prompts."""
        if stage == "predict":
            self._predicted().share(self.trainer)
            self._prompts()
        elif stage == "fit":
            for split in ("train", "val"):
                self._check_length(split)

    def part(self, split: str) -> tuple[int, int]:
        """Return where a split ("train", "val" or "test") begins and ends in the text."""
        size = len(self.text)
        test = size - round(size * self.test_fraction)
        val = test - round(size * self.validation_fraction)
        return {"train": (0, val), "val": (val, test), "test": (test, size)}[split]

    def training_data(self) -> dict[str, int]:
        """Return the lengths of training and validation text, and a checksum of both."""
        (begin, end), (_, val_end) = self.part("train"), self.part("val")
        return {
            "training characters": end - begin,
            "validation characters": val_end - end,
            "checksum": checksum([self.text[:val_end].encode()]),
        }

    def _check_length(self, split: str) -> None:
        begin, end = self.part(split)
        world_size = rank_and_world_size(self.trainer)[1]
        needed = self.batch_size * world_size * self.sequence_length + 1 if split == "train" else 2
        if end - begin < needed:
            advice = "lower data.batch_size or data.sequence_length, or " if split == "train" else ""
            raise ValueError(
                f"{self._source}: the {SPLITS[split]} part has {end - begin} characters, but at least {needed} are "
                f"needed; {advice}use a longer text"
            )

    def _encode_split(self, split: str) -> Tensor:
        """Return a split as ids of the model's vocabulary, [N], as `encode` does."""
        self._check_length(split)
        begin, end = self.part(split)
        lines_before = self.text.count("\n", 0, begin)
        return encode(self.text[begin:end], self._model_vocabulary(), self._source, lines_before)

    def train_dataloader(self) -> BatchLoader[CharBatch]:
        """Return the loader of this process's training batches."""
        ids = self._encode_split("train")
        rank, world_size = rank_and_world_size(self.trainer)

        def plan(epoch: int) -> tuple[Tensor, ...]:
            return training_positions(
                len(ids),
                self.batch_size,
                self.sequence_length,
                seed=self.seed,
                epoch=epoch,
                rank=rank,
                world_size=world_size,
            ).unbind()

        def fetch(starts: Tensor, epoch: int, step: int) -> CharBatch:
            places = starts[:, None] + torch.arange(self.sequence_length)  # [B, T]
            return CharBatch(ids[places].long(), ids[places + 1].long())

        return BatchLoader(plan, fetch, lambda: training_position(self.trainer), device_of(self.trainer))

    def val_dataloader(self) -> BatchLoader[CharBatch]:
        """Return the loader of the validation batches, which are empty on all processes but the first."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> BatchLoader[CharBatch]:
        """Return the loader of the test batches, which are empty on all processes but the first."""
        return self._evaluation_loader("test")

    def test_source(self) -> DataSource:
        """Return where the text comes from, and the digest of its end, which the test reads."""
        begin, end = self.part("test")
        return DataSource(self.path or "pydoc_data.topics", digest_of([self.text[begin:end]]), None)

    def _evaluation_loader(self, split: str) -> BatchLoader[CharBatch]:
        rank, _ = rank_and_world_size(self.trainer)
        characters, targets = evaluation_streams(self._encode_split(split), self.eval_batch_size)  # [B, length]
        if rank > 0:  # not shared among ranks: each batch needs the hidden state that the one before it left
            characters, targets = characters[:0], targets[:0]

        def fetch(columns: Tensor, epoch: int, step: int) -> CharBatch:
            return CharBatch(characters[:, columns], targets[:, columns])

        columns = torch.split(torch.arange(targets.shape[1]), self.sequence_length)
        return BatchLoader(lambda epoch: columns, fetch, device=device_of(self.trainer))

    def predict_dataloader(self) -> BatchLoader[PromptBatch]:
        """Return the loader of this process's prompts, one per batch since their lengths differ."""
        records = self._prompts()
        self.predict_count = len(records)
        vocabulary = self._model_vocabulary()
        prompts = {
            number: encode(record.text, vocabulary, f"data.predict_path: {self.predict_path}", record.line - 1)
            for number, record in enumerate(records)
            if record.text.strip()
        }
        nothing = torch.empty(0, 0, dtype=torch.int64)

        def fetch(index: Tensor) -> PromptBatch:
            return PromptBatch(prompts[int(index)][None].long() if len(index) else nothing, index)

        return evaluation_loader([torch.tensor([number]) for number in prompts], fetch, self.trainer)

    def _prompts(self) -> list[Record]:
        """Return the prompts, blank ones included."""
        records = self._predicted().records()
        if not any(record.text.strip() for record in records):
            raise ValueError(f"data.predict_path: {self.predict_path} has no prompt: write one per line")
        return records

    def _predicted(self) -> PredictionInput:
        """Return what `predict_path` names."""
        if self.predict_path is None:
            raise ValueError(
                "data.predict_path is missing: pass --data.predict_path FILE, a text file with one prompt per line"
            )
        if self._prediction_input is None:
            self._prediction_input = PredictionInput(self.predict_path, "prompt", "rename the column of prompts")
        return self._prediction_input

    def _model_vocabulary(self) -> str:
        """Return the vocabulary of the model, which a checkpoint restores after `setup`, else that of the text."""
        model = model_of(self.trainer)
        known = model.vocabulary if isinstance(model, UsesVocabulary) else None
        return known or self.vocabulary


def python_documentation() -> str:
    """Return the topics of Python's `help()`, one after the other: about 460,000 characters of English."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ValueError("this Python has no pydoc_data: pass a text file with --data.path FILE") from error
    return "\n".join(topics.values())
