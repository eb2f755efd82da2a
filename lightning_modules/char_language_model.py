"""The LightningModule that trains and scores a character language model, and generates text with it."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from architectures.char_rnn import CharRNN
from lightning_modules.language_module import LanguageModule
from lightning_modules.optim.parameter_groups import parameter_groups
from utils.batches import CharBatch, GeneratedText, Hypotheses, PromptBatch
from utils.checks import check_int, check_positive, check_positive_int
from utils.contracts import ProvidesCharacters, UsesVocabulary, datamodule_of
from utils.distributed import rank_and_world_size
from utils.random_streams import torch_generator


class CharLanguageModel(LanguageModule, UsesVocabulary):
    """Character language model: truncated back-propagation through time, bits per character, and generated samples.

    Within an epoch, each training batch continues from the network's memory after the batch before it, but gradients do
    not flow back into that batch. The memory is part of a checkpoint. The vocabulary comes from the datamodule when
    training starts and is also in the checkpoint.

    Args:
        architecture: The network, `CharRNN`.
        temperature: Temperature of generated text, above 0: below 1, likely characters become more likely; above 1, all
            characters become more equally likely.
        sample_length: Length in characters of a sample or a prediction, without its prompt.
        validation_samples: Number of samples that each validation generates. Their prompts are the first characters of
            the validation streams.
        **training: Arguments of `TrainingModule`.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    unit = "sequences"
    sums: ClassVar[tuple[str, ...]] = ("nats", "correct", "characters")
    state_key = "char_language_model"
    state_types: ClassVar[dict[str, Any]] = {"vocabulary": str | None, "carried": Tensor | None}

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
        self.carried: Tensor | None = None  # the memory [L, S, B, H] after the last training batch
        self.eval_state: Tensor | None = None  # the same in validation and test

    # --- before the first step ---------------------------------------------------------------------------------

    def has_vocabulary(self) -> bool:
        """Return whether the characters that ids stand for are known."""
        return self.vocabulary is not None

    def take_vocabulary(self) -> None:
        """Take the vocabulary from the datamodule.

        Raises:
            ValueError: The datamodule has none, or it has more characters than the network.
        """
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
        """Raise ValueError if the text has another vocabulary than that of the checkpoint."""
        theirs = self._data_vocabulary()
        if theirs is not None and theirs != self.vocabulary:
            raise ValueError(
                f"the text has different characters from the one that {self.trainer.ckpt_path} was trained on; "
                "resume with the same --data.path, or start a new run"
            )

    def build_optimizer(self) -> Optimizer:
        """Return the optimizer of the network's parameters."""
        return self.optimizer_of(parameter_groups(self.architecture, self.architecture.head))

    # --- one batch ---------------------------------------------------------------------------------------------

    def forward(self, characters: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits of each next character, and the memory after the last.

        Args:
            characters: Ids, int64 [B, T].
            state: Memory [L, S, B, H] before the first of them; None for an empty one.

        Returns:
            Logits [B, T, C] for the C characters of the vocabulary (the network may have more outputs), and the memory
            [L, S, B, H].
        """
        assert self.vocabulary is not None
        logits, state = self.architecture(characters, state, known=len(self.vocabulary))
        return logits, state

    def training_step(self, batch: CharBatch, batch_idx: int) -> Tensor:
        """Return the mean loss of a batch in nats per character, and keep the memory for the next one."""
        state = self._carried_for(batch) if batch_idx > 0 else None
        logits, state = self(batch.characters, state)
        self.carried = state.detach()  # truncates back-propagation
        nats, correct, count = character_sums(logits, batch.targets)
        self.train_sums.add(nats, correct, count)
        loss = nats / count
        self.latest = {"train/bits_per_character": loss.detach() / math.log(2)}
        return self.weigh(loss, batch_idx)

    def _carried_for(self, batch: CharBatch) -> Tensor | None:
        """Return the memory that a batch continues from; None if its number of streams has changed."""
        if self.carried is None or self.carried.shape[2] != len(batch.characters):
            return None
        return self.carried.to(self.device)

    def validation_step(self, batch: CharBatch, batch_idx: int) -> None:
        """Score a batch, and generate samples from the first one."""
        self._evaluate(batch, batch_idx)
        # Here and not at the end of the epoch: averaged weights, if there are any, are in place only until then.
        if batch_idx == 0 and not self.trainer.sanity_checking:
            self._add_samples(batch)

    def test_step(self, batch: CharBatch, batch_idx: int) -> None:
        """Score a batch."""
        self._evaluate(batch, batch_idx)

    def predict_step(self, batch: PromptBatch, batch_idx: int) -> Hypotheses:
        """Continue a prompt; the text returned begins with it."""
        prompt, index = batch
        if not len(index):  # a process has an empty batch where the others have one batch more
            return {"index": index, "hypotheses": []}
        generated = self._generate(prompt, self.sample_length, self.temperature, int(index))
        return {"index": index, "hypotheses": [self.decode(prompt[0]) + self.decode(generated[0])]}

    def _evaluate(self, batch: CharBatch, batch_idx: int) -> None:
        if not len(batch.characters):  # all streams are read by the first process
            return
        logits, self.eval_state = self(batch.characters, self.eval_state if batch_idx > 0 else None)
        self.eval_sums.add(*character_sums(logits, batch.targets))

    # --- generated text ----------------------------------------------------------------------------------------

    def decode(self, ids: Tensor) -> str:
        """Return the text of ids [T]."""
        assert self.vocabulary is not None
        return "".join(self.vocabulary[number] for number in ids.tolist())

    def continue_text(self, prompt: str, length: int = 300, temperature: float = 0.8, seed: int = 0) -> str:
        """Return the prompt and a continuation that the model generates.

        Args:
            prompt: At least one character, all of them in the vocabulary.
            length: Length of the continuation in characters.
            temperature: As in `CharLanguageModel`.
            seed: Each seed gives another continuation, the same in every process. (`predict` uses seed n for line n.)

        Raises:
            ValueError: The prompt is empty, a character is unknown, or the model has no vocabulary yet.
        """
        if self.vocabulary is None:
            raise ValueError("there is no vocabulary before training: use CharLanguageModel.load_from_checkpoint")
        if not prompt:
            raise ValueError("prompt is empty: it needs at least one character")
        if unknown := "".join(sorted(set(prompt) - set(self.vocabulary))):
            raise ValueError(f"prompt has {unknown!r}, which was not in the training text: remove it")
        ids = torch.tensor([[self.vocabulary.index(character) for character in prompt]], device=self.device)
        return prompt + self.decode(self._generate(ids, length, temperature, seed)[0])

    def _generate(self, prompt: Tensor, length: int, temperature: float, number: int) -> Tensor:
        """Return ids [1, length] that follow a prompt [1, P], a function of the model's seed and of `number`."""
        assert self.vocabulary is not None
        was_training = self.architecture.training
        self.architecture.eval()
        generator = torch_generator("samples", self.seed, number)
        generated = self.architecture.generate(prompt, length, temperature, generator, known=len(self.vocabulary))
        self.architecture.train(was_training)
        return generated

    def _add_samples(self, batch: CharBatch) -> None:
        """Generate from the first half of the first streams in a batch; the second half is the reference."""
        half = max(1, batch.characters.shape[1] // 2)
        for row, characters in enumerate(batch.characters[: self.validation_samples]):
            generated = self._generate(characters[None, :half], self.sample_length, self.temperature, row)
            prompt, reference = self.decode(characters[:half]), self.decode(characters[half:])
            self.generated.append(GeneratedText(row, prompt, (reference,), self.decode(generated[0])))

    # --- one evaluation ----------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """Return the names of bits per character and accuracy."""
        return ["val/bits_per_character", "val/accuracy"]

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        """Return bits per character, and the share of characters that the model finds most likely."""
        count = max(1.0, totals["characters"])
        return {"bits_per_character": totals["nats"] / count / math.log(2), "accuracy": totals["correct"] / count}

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the vocabulary, and the memory of all processes."""
        carried = self.carried
        if carried is not None and self.trainer.world_size > 1:
            carried = torch.cat(list(self.all_gather(carried.to(self.device))), 2)
        return {"vocabulary": self.vocabulary, "carried": None if carried is None else carried.cpu()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the vocabulary, and this process's part of the memory."""
        self.vocabulary = state["vocabulary"]
        carried: Tensor | None = state["carried"]
        if carried is not None:
            rank, world_size = rank_and_world_size(self._trainer)
            carried = carried.tensor_split(world_size, dim=2)[rank].clone()
        self.carried = carried


def character_sums(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums over all targets that are scored.

    Args:
        logits: [B, T, C].
        targets: Ids, int64 [B, T]; `IGNORED` ones are not scored.

    Returns:
        The sum of -log p(target) in nats, the number of targets with the largest logit, and the number of targets.
    """
    nats = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
    scored = targets >= 0
    correct = ((logits.argmax(2) == targets) & scored).sum()
    return nats, correct, scored.sum()
