"""The tokenizer of a run: found or trained once, saved in the run folder, the same on every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from datamodules.text.tokenizer import TokenizerModel, train_tokenizer
from datamodules.trainer_state import model_of, stage_of
from utils.contracts import UsesTokenizer
from utils.files import write_text
from utils.tokenizer_files import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"  # in the run folder


class RunTokenizer:
    """The tokenizer of a run: the one in the run folder, else the one at `path`, else one trained on texts.

    Outside a fit it is the model's, which is stored in the checkpoint.

    Args:
        path: A tokenizer.json, a spiece.model, or a folder that contains one of them; None to train a tokenizer.
        model: Kind of a tokenizer that is trained.
        vocab_size: Vocabulary size of a tokenizer that is trained.
        num_sentinels: Number of sentinels of a tokenizer that is trained.
        training_texts: Returns the texts to train on.
    """

    def __init__(
        self,
        path: str | None,
        model: TokenizerModel,
        vocab_size: int,
        num_sentinels: int,
        training_texts: Callable[[], Iterable[str]],
    ) -> None:
        self.path = path
        self.model: TokenizerModel = model
        self.vocab_size = vocab_size
        self.num_sentinels = num_sentinels
        self.training_texts = training_texts
        self._found: Tokenizer | None = None

    def get(self, trainer: Trainer | None) -> Tokenizer:
        """Return the tokenizer, found or trained on first use.

        Raises:
            FileNotFoundError: There is no file at `path`.
            ValueError: The file or an argument is invalid, or there is no tokenizer outside a fit.
        """
        model = model_of(trainer)
        if stage_of(trainer) != "fit" and isinstance(model, UsesTokenizer) and model.tokenizer is not None:
            return model.tokenizer
        if self._found is None:
            self._found = self._find(trainer)
        return self._found

    def _find(self, trainer: Trainer | None) -> Tokenizer:
        file = _run_file(trainer)
        if file is not None and file.is_file():
            return load_tokenizer(file)
        if self.path is not None:
            return load_tokenizer(self.path)
        if stage_of(trainer) not in (None, "fit"):
            raise ValueError("the model has no tokenizer, and data.tokenizer is not set: set it to a tokenizer.json")
        rank_zero_info(f"training a tokenizer ({self.model}, {self.vocab_size:,} tokens)")
        return train_tokenizer(self.training_texts(), self.vocab_size, self.model, self.num_sentinels)

    def check_against_model(self, trainer: Trainer | None) -> None:
        """Check that outside a fit the tokenizer at `path`, if there is one, is the model's.

        Raises:
            ValueError: It is another one.
        """
        if stage_of(trainer) in (None, "fit") or self.path is None:
            return
        if not Path(self.path).exists():  # the run may have been moved to another machine
            return
        if load_tokenizer(self.path).get_vocab() != self.get(trainer).get_vocab():
            raise ValueError(
                f"data.tokenizer: {self.path} is not the tokenizer that the model was trained with, which is in its "
                "checkpoint: pass --data.tokenizer null to use that"
            )

    def keep(self, trainer: Trainer | None) -> None:
        """Save the tokenizer in the run folder, unless there is one."""
        file = _run_file(trainer)
        if file is None or file.is_file():
            return
        write_text(file, self.get(trainer).to_str(pretty=True))  # its own `save` raises a bare Exception on a full disk

    def share(self, trainer: Trainer | None) -> None:
        """Give every process the tokenizer of the first one; every process must call this.

        Processes started by srun or torchrun may not know the run folder yet, and would otherwise use the tokenizer of
        the folder that they assume.
        """
        if trainer is None or trainer.world_size == 1:
            return
        first = trainer.is_global_zero
        content = trainer.strategy.broadcast(self.get(trainer).to_str() if first else "")
        if not first:
            from tokenizers import Tokenizer

            self._found = Tokenizer.from_str(content)


def _run_file(trainer: Trainer | None) -> Path | None:
    return Path(trainer.default_root_dir) / FILE if trainer is not None else None
