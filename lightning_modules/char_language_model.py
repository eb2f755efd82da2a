"""Trains, scores and samples a network that reads a text character by character."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from architectures.char_rnn import CharRNN
from lightning_modules.epoch_sums import EpochSums
from lightning_modules.gathering import gathered
from lightning_modules.optimizers import parameter_groups
from lightning_modules.schedules import with_schedule
from lightning_modules.seeding import reseed, step_seed


class Sample(NamedTuple):
    """What the model wrote on from a prompt.

    Attributes:
        stream: The number of the validation stream that the prompt is the beginning of.
        source: The prompt.
        references: How the stream goes on.
        hypothesis: What the model wrote in its place.
    """

    stream: int
    source: str
    references: tuple[str, ...]
    hypothesis: str


class CharLanguageModel(L.LightningModule):
    """A character language model: truncated back-propagation through time, bits per character, and sampling.

    The network's memory goes on from batch to batch within an epoch, and with the checkpoint; the gradient does not.
    The vocabulary is taken from the datamodule when training starts and travels in the checkpoint. Batches are those
    of `CharTextDataModule`: `characters` [B, T] and `targets` [B, T] (-100: none).

    Args:
        architecture: The network, `CharRNN`.
        optimizer: Any torch optimizer (`class_path` and `init_args`); weight decay is kept off biases.
        schedule: A schedule of `lightning_modules.schedules`, counted in optimizer steps.
        temperature: Of the samples: below 1 the likely becomes likelier, above 1 all become more alike.
        sample_length: How many characters a sample and a prediction have, its prompt not counted.
        validation_samples: How many samples each validation draws; the beginnings of the validation streams are their
            prompts.
        seed: Seed of dropout, drawn anew for every step from (seed, epoch, step, rank), and of the samples.

    Raises:
        ValueError: A number that is not possible.
    """

    unit = "sequences"  # what progress bars count

    def __init__(
        self,
        architecture: CharRNN,
        # No defaults: see ImageClassifier.
        optimizer: Callable[[Iterable], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        temperature: float = 0.8,
        sample_length: int = 300,
        validation_samples: int = 3,
        seed: int = 0,
    ):
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if sample_length < 1:
            raise ValueError(f"sample_length must be at least 1, got {sample_length}")
        if validation_samples < 0:
            raise ValueError(f"validation_samples must not be negative, got {validation_samples}")
        self.save_hyperparameters()
        self.architecture = architecture
        self.optimizer = optimizer
        self.schedule = schedule
        self.temperature = temperature
        self.sample_length = sample_length
        self.validation_samples = validation_samples
        self.seed = seed

        self.vocabulary: str | None = None  # a character's id is its place in it
        self.generated: list[Sample] = []  # what the last validation drew
        self.carried: Tensor | None = None  # the memory [L, S, B, H] that the next training batch begins with
        self.eval_state: Tensor | None = None
        self.train_sums = EpochSums("nats", "correct", "characters")
        self.eval_sums = EpochSums("nats", "correct", "characters")

    # --- before the first step ---------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._take_vocabulary()

    def on_fit_start(self) -> None:
        theirs = getattr(getattr(self.trainer, "datamodule", None), "vocabulary", None)
        if theirs is not None and theirs != self.vocabulary:
            raise ValueError(
                f"the text has other characters than the one that {self.trainer.ckpt_path} was trained on: "
                "go on with --data.path as it was, or start a new run"
            )
        if self.trainer.ckpt_path is None:
            self.train_sums.reset()  # of a fit that was interrupted

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = self.optimizer(parameter_groups(self.architecture, self.architecture.head))
        return with_schedule(optimizer, self.schedule, self.trainer)

    def _take_vocabulary(self) -> None:
        vocabulary = getattr(getattr(self.trainer, "datamodule", None), "vocabulary", None)
        if vocabulary is None:
            raise ValueError("there is no vocabulary: neither a checkpoint nor the datamodule has one")
        room = self.architecture.vocab_size
        if len(vocabulary) > room:
            raise ValueError(
                f"the text has {len(vocabulary)} different characters but model.architecture.vocab_size is {room}; "
                f"pass --model.architecture.vocab_size {len(vocabulary)}"
            )
        self.vocabulary = vocabulary

    # --- one batch ---------------------------------------------------------------------------------------------

    def forward(self, characters: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [B, T, C] of the character after each of `characters` [B, T], and the memory after the last.

        C is the number of characters in the vocabulary: places of the network that no character has taken are left out.
        """
        assert self.vocabulary is not None
        return self.architecture(characters, state, known=len(self.vocabulary))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        reseed(self.seed, self.current_epoch, batch_idx, self.global_rank)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        goes_on = batch_idx > 0 and self.carried is not None and self.carried.shape[2] == len(batch.characters)
        state = self.carried.to(self.device) if goes_on and self.carried is not None else None
        logits, state = self(batch.characters, state)
        self.carried = state.detach()  # what truncates back-propagation
        nats, correct, count = character_sums(logits, batch.targets)
        self.train_sums.add(nats, correct, count)
        loss = nats / count
        self.log("train/bits_per_character", loss.detach() / math.log(2), prog_bar=True, logger=False)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)
        # Here and not at the end of the epoch: averaged weights, where there are any, are in place only till then.
        if batch_idx == 0 and not self.trainer.sanity_checking:
            self._draw_samples(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Any]:
        prompt, index = batch
        written = self._write_on(prompt, self.sample_length, self.temperature, int(index))
        return {"index": index, "hypotheses": [self.decode(prompt[0]) + self.decode(written[0])]}

    def _evaluate(self, batch: Any, batch_idx: int) -> None:
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
        generator = torch.Generator().manual_seed(step_seed(self.seed, 0, number, 0))
        written = self.architecture.generate(prompt, length, temperature, generator, known=len(self.vocabulary))
        self.architecture.train(was_training)
        return written

    def _draw_samples(self, batch: Any) -> None:
        """Continues the first half of the first streams' first characters; the second half is the reference."""
        half = max(1, batch.characters.shape[1] // 2)
        for row, characters in enumerate(batch.characters):
            stream = row * self.trainer.world_size + self.global_rank  # processes take streams in turn
            if stream < self.validation_samples:
                written = self._write_on(characters[None, :half], self.sample_length, self.temperature, stream)
                prompt, reference = self.decode(characters[:half]), self.decode(characters[half:])
                self.generated.append(Sample(stream, prompt, (reference,), self.decode(written[0])))

    # --- one epoch ---------------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """The names that validation logs, of which `checkpoint.monitor` must be one."""
        return ["val/bits_per_character", "val/accuracy"]

    def on_train_epoch_end(self) -> None:
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        self.log_dict({**self._means("train", self.train_sums), "lr": rate})

    def on_validation_start(self) -> None:
        self._begin_evaluation()

    def on_test_start(self) -> None:
        self._begin_evaluation()

    def on_predict_start(self) -> None:
        if self.vocabulary is None:
            self._take_vocabulary()

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self._means("val", self.eval_sums), prog_bar=True)
        self.generated = sorted(gathered(self.generated))

    def on_test_epoch_end(self) -> None:
        self.log_dict(self._means("test", self.eval_sums))

    def _begin_evaluation(self) -> None:
        if self.vocabulary is None:
            self._take_vocabulary()
        self.generated = []
        self.eval_sums.reset()

    def _means(self, stage: str, sums: EpochSums) -> dict[str, float]:
        total = sums.total(self.trainer.strategy)
        sums.reset()
        count = max(1.0, total["characters"])
        return {
            f"{stage}/bits_per_character": total["nats"] / count / math.log(2),
            f"{stage}/accuracy": total["correct"] / count,
        }

    # --- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the vocabulary and, in the middle of an epoch, its sums so far and all processes' memory."""
        carried = self.carried
        if carried is not None and self.trainer.world_size > 1:
            carried = torch.cat(list(self.all_gather(carried.to(self.device))), 2)
        checkpoint["char_language_model"] = {
            "vocabulary": self.vocabulary,
            "carried": None if carried is None else carried.cpu(),
            "train_sums": self.train_sums.state_dict(self.trainer.strategy),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["char_language_model"]
        self.vocabulary = state["vocabulary"]
        self.train_sums.load_state_dict(state["train_sums"], self.global_rank)
        self.carried = state["carried"]
        if self.carried is not None and self._trainer is not None:  # this process's streams
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
