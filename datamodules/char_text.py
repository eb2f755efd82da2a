"""Any text file as streams of characters, and prompts to continue."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from datamodules.loader import BatchLoader, training_position
from datamodules.text.char_streams import encode, evaluation_streams, training_positions
from datamodules.text.files import read_text
from utils.batches import CharBatch, PromptBatch
from utils.checks import check_int, check_positive_int
from utils.contracts import PredictsLines, ProvidesCharacters, UsesVocabulary
from utils.distributed import rank_and_world_size


class CharTextDataModule(LightningDataModule, ProvidesCharacters, PredictsLines):
    """A text, cut into training (its beginning), validation and test (its end), for models that read characters.

    Each part is read in contiguous streams side by side: batch k + 1 goes on where batch k stopped, so that a model
    can carry its memory over (truncated back-propagation through time). It starts anew with the first batch.

    Args:
        path: A text file, UTF-8, plain or gzip; none: the English documentation that comes with Python
            (`pydoc_data.topics`, 0.5 MB).
        sequence_length: Characters of each stream in a batch: how far back gradients go.
        batch_size: Streams that the training text is cut into, per process. What does not fill a batch, another
            part of the text each epoch, is left out.
        eval_batch_size: Streams that the validation and the test text are cut into, over all processes.
        validation_fraction: Share of the text for validation.
        test_fraction: Share of the text for the test.
        seed: Seed of where each epoch's streams begin.
        predict_path: A text file, UTF-8, plain or gzip, with a prompt on each line, for `predict`; blank lines are
            none.

    Raises:
        ValueError: A number that is not possible.
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
                raise ValueError(f"data.{name} is {share}: it must be above 0 and below 1")
        if validation_fraction + test_fraction >= 1:
            raise ValueError(
                f"data.validation_fraction is {validation_fraction} and data.test_fraction {test_fraction}: "
                "nothing is left for training, they must add up to less than 1"
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
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The whole text, read on first use.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not UTF-8 (the line is named), or too short.
        """
        if self._text is None:
            self._text = read_text(self.path, "data.path") if self.path is not None else python_documentation()
            if len(self._text) < 2:
                raise ValueError(f"data.path {self._source} has no text to learn: {len(self._text)} characters in all")
        return self._text

    @property
    def vocabulary(self) -> str:
        """Every character of the text once, in the order of code points: a character's id is its place in it."""
        return "".join(sorted(set(self.text)))

    @property
    def _source(self) -> str:
        return self.path or "pydoc_data.topics"

    def setup(self, stage: str) -> None:
        if stage == "predict":
            self._prompts()  # a file that is not there is said before the model is loaded
        elif stage == "fit":
            for name in ("train", "val"):
                self._check_length(name)

    def part(self, name: str) -> tuple[int, int]:
        """Where a part of the text ("train", "val" or "test") begins and ends."""
        size = len(self.text)
        test = size - round(size * self.test_fraction)
        val = test - round(size * self.validation_fraction)
        return {"train": (0, val), "val": (val, test), "test": (test, size)}[name]

    def _check_length(self, name: str) -> None:
        begin, end = self.part(name)
        world = rank_and_world_size(self.trainer)[1]
        needed = self.batch_size * world * self.sequence_length + 1 if name == "train" else 2
        if end - begin < needed:
            share = {"train": "training", "val": "validation", "test": "test"}[name]
            advice = "lower data.batch_size or data.sequence_length, or " if name == "train" else ""
            raise ValueError(
                f"data.path {self._source}: the {share} part has {end - begin} characters but at least {needed} are "
                f"needed; {advice}take a longer text"
            )

    def train_dataloader(self) -> BatchLoader[CharBatch]:
        self._check_length("train")
        begin, end = self.part("train")
        ids = encode(self.text[begin:end], self._model_vocabulary(), f"data.path {self._source}")
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
            return CharBatch(ids[places], ids[places + 1])

        return BatchLoader(plan, fetch, lambda: training_position(self.trainer))

    def val_dataloader(self) -> BatchLoader[CharBatch]:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> BatchLoader[CharBatch]:
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: str) -> BatchLoader[CharBatch]:
        self._check_length(name)
        begin, end = self.part(name)
        ids = encode(
            self.text[begin:end], self._model_vocabulary(), f"data.path {self._source}", self.text.count("\n", 0, begin)
        )
        rank, world_size = rank_and_world_size(self.trainer)
        # The streams are the same for any number of processes, and so is the score.
        streams = evaluation_streams(ids, self.eval_batch_size)
        characters, targets = (part[rank::world_size] for part in streams)  # [B, length]

        def fetch(columns: Tensor, epoch: int, step: int) -> CharBatch:
            return CharBatch(characters[:, columns], targets[:, columns])

        columns = torch.arange(targets.shape[1]).split(self.sequence_length)
        return BatchLoader(lambda epoch: columns, fetch)

    def predict_dataloader(self) -> BatchLoader[PromptBatch]:
        """Prompts, one a batch since their lengths differ: (ids int64 [1, P], number of the line int64 [1])."""
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a single prompt: one process has nothing
        lines = self._prompts()
        self.predict_count = len(lines)
        vocabulary = self._model_vocabulary()
        prompts = {
            number: encode(line, vocabulary, f"data.predict_path {self.predict_path}", number)
            for number, line in enumerate(lines)
            if line.strip()
        }
        rank, world_size = rank_and_world_size(self.trainer)
        mine = torch.tensor(list(prompts)[rank::world_size], dtype=torch.int64).split(1) if len(prompts) > rank else ()

        def fetch(index: Tensor, epoch: int, step: int) -> PromptBatch:
            return PromptBatch(prompts[int(index)][None], index)

        return BatchLoader(lambda epoch: mine, fetch)

    def _prompts(self) -> list[str]:
        if self.predict_path is None:
            raise ValueError("predict continues prompts: pass --data.predict_path FILE, a text file with one a line")
        lines = read_text(self.predict_path, "data.predict_path").removesuffix("\n").split("\n")
        if not any(line.strip() for line in lines):
            raise ValueError(f"data.predict_path {self.predict_path} holds no prompt: write one on each line")
        return lines

    def _model_vocabulary(self) -> str:
        """The vocabulary of the trainer's model, which a checkpoint restores after `setup`; else the text's own."""
        module = self.trainer.lightning_module if self.trainer is not None else None
        known = module.vocabulary if isinstance(module, UsesVocabulary) else None
        return known or self.vocabulary


def python_documentation() -> str:
    """The topics of Python's `help()`, one after the other: about 460,000 characters in English."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ValueError("this Python comes without pydoc_data: pass --data.path FILE, any text file") from error
    return "\n".join(topics.values())
