"""The LightningModule that trains, scores and samples a network that reads a text character by character."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from architectures.char_rnn import CharRNN
from lightning_modules.language_module import LanguageModule
from utils.batches import CharBatch, GeneratedText, Hypotheses, PromptBatch
from utils.checks import check_int, check_positive, check_positive_int
from utils.contracts import ProvidesCharacters, UsesVocabulary, datamodule_of
from utils.random_streams import torch_generator


class CharLanguageModel(LanguageModule, UsesVocabulary):
    """A character language model: truncated back-propagation through time, bits per character, and sampling.

    The network's memory is carried from batch to batch within an epoch, and in the checkpoint; the gradient is not.
    The vocabulary is taken from the datamodule when training starts and travels in the checkpoint. Batches are
    `CharBatch`.

    Args:
        architecture: The network, `CharRNN`.
        temperature: Temperature of the samples: below 1 likely characters become likelier, above 1 all become more
            alike.
        sample_length: Number of characters in a sample or a prediction, its prompt not counted.
        validation_samples: Number of samples that each validation draws; their prompts are the beginnings of the
            validation streams.
        **training: Arguments of `TrainingModule`.

    Raises:
        ValueError: A number is out of range.
    """

    unit = "sequences"
    sums: ClassVar[tuple[str, ...]] = ("nats", "correct", "characters")
    state_key = "char_language_model"

    def __init__(
        self,
        architecture: CharRNN,
        temperature: float = 0.8,
        sample_length: int = 300,
        validation_samples: int = 3,
        **training: Any,
    ):
        super().__init__(**training)
        self.save_hyperparameters()
        self.architecture: CharRNN = architecture
        self.temperature = check_positive("temperature", temperature)
        self.sample_length = check_positive_int("sample_length", sample_length)
        self.validation_samples = check_int("validation_samples", validation_samples)
        self.vocabulary: str | None = None  # a character's id is its place in it
        self.carried: Tensor | None = None  # the memory [L, S, B, H] that the next training batch begins with
        self.eval_state: Tensor | None = None

    # --- before the first step ---------------------------------------------------------------------------------

    def has_vocabulary(self) -> bool:
        """See `LanguageModule`."""
        return self.vocabulary is not None

    def take_vocabulary(self) -> None:
        """See `LanguageModule`."""
        vocabulary = self._data_vocabulary()
        if vocabulary is None:
            raise ValueError("there is no vocabulary: neither a checkpoint nor the datamodule has one")
        size = self.architecture.vocab_size
        if len(vocabulary) > size:
            raise ValueError(
                f"the text has {len(vocabulary)} different characters but model.architecture.vocab_size is {size}; "
                f"pass --model.architecture.vocab_size {len(vocabulary)}"
            )
        self.vocabulary = vocabulary

    def _data_vocabulary(self) -> str | None:
        datamodule = datamodule_of(self.trainer)
        return datamodule.vocabulary if isinstance(datamodule, ProvidesCharacters) else None

    def check_resumed_data(self) -> None:
        """Refuse to resume on a text with another vocabulary."""
        theirs = self._data_vocabulary()
        if theirs is not None and theirs != self.vocabulary:
            raise ValueError(
                f"the text has other characters than the one that {self.trainer.ckpt_path} was trained on: "
                "resume with --data.path as it was, or start a new run"
            )

    # --- one batch ---------------------------------------------------------------------------------------------

    def forward(self, characters: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [B, T, C] of the character after each of `characters` [B, T], and the memory after the last.

        C is the number of characters in the vocabulary: places of the network that no character has taken are left out.
        """
        assert self.vocabulary is not None
        return self.architecture(characters, state, known=len(self.vocabulary))

    def training_step(self, batch: CharBatch, batch_idx: int) -> Tensor:
        goes_on = batch_idx > 0 and self.carried is not None and self.carried.shape[2] == len(batch.characters)
        state = self.carried.to(self.device) if goes_on and self.carried is not None else None
        logits, state = self(batch.characters, state)
        self.carried = state.detach()  # what truncates back-propagation
        nats, correct, count = character_sums(logits, batch.targets)
        self.train_sums.add(nats, correct, count)
        loss = nats / count
        self.log("train/bits_per_character", loss.detach() / math.log(2), prog_bar=True, logger=False)
        return loss

    def validation_step(self, batch: CharBatch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)
        # Here and not at the end of the epoch: averaged weights, where there are any, are in place only till then.
        if batch_idx == 0 and not self.trainer.sanity_checking:
            self._draw_samples(batch)

    def test_step(self, batch: CharBatch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def predict_step(self, batch: PromptBatch, batch_idx: int) -> Hypotheses:
        prompt, index = batch
        written = self._write_on(prompt, self.sample_length, self.temperature, int(index))
        return {"index": index, "hypotheses": [self.decode(prompt[0]) + self.decode(written[0])]}

    def _evaluate(self, batch: CharBatch, batch_idx: int) -> None:
        logits, self.eval_state = self(batch.characters, self.eval_state if batch_idx > 0 else None)
        self.eval_sums.add(*character_sums(logits, batch.targets))

    # --- samples -----------------------------------------------------------------------------------------------

    def decode(self, ids: Tensor) -> str:
        """The text of ids [T]."""
        assert self.vocabulary is not None
        return "".join(self.vocabulary[number] for number in ids.tolist())

    def continue_text(self, prompt: str, length: int = 300, temperature: float = 0.8, seed: int = 0) -> str:
        """The prompt and what the model writes on from it; each seed writes something else.

        Args:
            prompt: At least one character, all of them in the vocabulary.
            length: How many characters to write.
            temperature: See `CharLanguageModel`.
            seed: Seed of the characters drawn.

        Raises:
            ValueError: The prompt is empty, a character is unknown, or the model has no vocabulary yet.
        """
        if self.vocabulary is None:
            raise ValueError("there is no vocabulary before training: use CharLanguageModel.load_from_checkpoint")
        if not prompt or set(prompt) - set(self.vocabulary):
            unknown = "".join(sorted(set(prompt) - set(self.vocabulary)))
            raise ValueError(f"prompt has {unknown!r}, never seen in training" if prompt else "prompt is empty")
        ids = torch.tensor([[self.vocabulary.index(character) for character in prompt]], device=self.device)
        return prompt + self.decode(self._write_on(ids, length, temperature, seed)[0])

    def _write_on(self, prompt: Tensor, length: int, temperature: float, number: int) -> Tensor:
        """Ids [1, length] after those of a prompt [1, P]: by the model's seed and `number`, alike in any process."""
        assert self.vocabulary is not None
        was_training = self.architecture.training
        self.architecture.eval()
        generator = torch_generator("samples", self.seed, number)
        written = self.architecture.generate(prompt, length, temperature, generator, known=len(self.vocabulary))
        self.architecture.train(was_training)
        return written

    def _draw_samples(self, batch: CharBatch) -> None:
        """Continues the first half of the first streams' first characters; the second half is the reference."""
        half = max(1, batch.characters.shape[1] // 2)
        for row, characters in enumerate(batch.characters):
            stream = row * self.trainer.world_size + self.global_rank  # processes take streams in turn
            if stream < self.validation_samples:
                written = self._write_on(characters[None, :half], self.sample_length, self.temperature, stream)
                prompt, reference = self.decode(characters[:half]), self.decode(characters[half:])
                self.generated.append(GeneratedText(stream, prompt, (reference,), self.decode(written[0])))

    # --- one evaluation ----------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """See `NamesValidationMetrics`."""
        return ["val/bits_per_character", "val/accuracy"]

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        """Return bits per character and the share of characters that are the likeliest."""
        count = max(1.0, totals["characters"])
        return {"bits_per_character": totals["nats"] / count / math.log(2), "accuracy": totals["correct"] / count}

    def on_validation_epoch_end(self) -> None:
        """Log the validation's metrics and gather its samples."""
        self.log_dict(self.mean_metrics("val", self.eval_sums), prog_bar=True)
        self.gather_generated()

    def on_test_epoch_end(self) -> None:
        """Log the test's metrics."""
        self.log_dict(self.mean_metrics("test", self.eval_sums))

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the vocabulary and the memory of all processes."""
        carried = self.carried
        if carried is not None and self.trainer.world_size > 1:
            carried = torch.cat(list(self.all_gather(carried.to(self.device))), 2)
        return {"vocabulary": self.vocabulary, "carried": None if carried is None else carried.cpu()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the vocabulary and this process's part of the memory."""
        self.vocabulary = state["vocabulary"]
        self.carried = state["carried"]
        if self.carried is not None and self._trainer is not None:
            streams = self.carried.shape[2] // self.trainer.world_size
            self.carried = self.carried[:, :, self.global_rank * streams :][:, :, :streams].clone()


def character_sums(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over all targets that are not -100: the sum of -log p(target) in nats, how many are the likeliest, how many.

    Args:
        logits: [B, T, C].
        targets: Ids, int64 [B, T].
    """
    nats = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
    there = targets >= 0
    correct = ((logits.argmax(2) == targets) & there).sum()
    return nats, correct, there.sum()
