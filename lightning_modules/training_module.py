"""Base class of all LightningModules: optimizer and schedule, reproducible dropout, and sums over the epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_modules.compilation import CompileMode, begin_step
from lightning_modules.epoch_sums import EpochSums
from lightning_modules.from_checkpoint import load_module
from lightning_modules.loaded_checkpoint import verify_loaded
from lightning_modules.optim.fused import use_fused_kernels
from lightning_modules.optim.parameter_groups import parameter_groups
from lightning_modules.optim.schedules import with_schedule
from utils.accumulation import accumulated_batches
from utils.checkpoint_config import TRAINED_ONLY
from utils.checkpoints import add_digests
from utils.contracts import HasNetwork, HasUnit, NamesTrainingMetrics, NamesValidationMetrics, ShowsTraining
from utils.distributed import copy_from_first
from utils.random_streams import seed_global_generators

EXAMPLES = {"optimizer": "torch.optim.SGD", "schedule": "WarmupCosine"}


def missing_for_fit(argument: str) -> str:
    """Return the message for a module without optimizer or schedule."""
    return f"model.{argument} is missing: a fit needs one, such as --model.{argument} {EXAMPLES[argument]}"


def check_optimizer(model: Any) -> None:
    """Raise ValueError if a model lacks what only a fit needs, before anything is prepared in vain."""
    arguments = model.get("init_args") or {}
    for name in TRAINED_ONLY:
        if name in arguments and arguments[name] is None:
            raise ValueError(missing_for_fit(name))


class TrainingModule(
    L.LightningModule, HasNetwork, HasUnit, ShowsTraining, NamesTrainingMetrics, NamesValidationMetrics
):
    """Base class of the LightningModules: training, and what every checkpoint holds.

    A subclass sets `architecture`, names what its training adds up over an epoch (`sums`) and turns the totals into
    metrics (`metrics_of`). It also says how a new run initializes the weights (`initialize_weights`) and what else a
    checkpoint holds (`checkpoint_state`).

    Args:
        optimizer: Any torch optimizer (`class_path` and `init_args`). Biases and normalisation parameters have no
            weight decay. Only a fit needs one.
        schedule: A schedule of `lightning_modules.optim.schedules`, counted in optimizer steps. Only a fit needs one.
        seed: Seed of dropout, of generated samples and of the images that a network initializes itself from. Dropout
            is a function of (seed, epoch, step, rank).
    """

    sums: ClassVar[tuple[str, ...]]
    """What `train_sums` adds up."""

    state_key: ClassVar[str]
    """Name of the module's state in a checkpoint."""

    state_types: ClassVar[dict[str, Any]] = {}
    """The types of what `checkpoint_state` returns."""

    state_added: ClassVar[tuple[str, ...]] = ()
    """Entries of `state_types` that checkpoints of earlier versions lack."""

    compile_network: CompileMode = "none"
    """How the network is compiled in a fit; set by modules whose network can be."""

    def __init__(
        self,
        # No class is the default of optimizer or schedule: jsonargparse, given another class, keeps the values of the
        # default class's arguments of the same name, and AdamW's weight decay would reach Muon unseen.
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer] | None = None,
        schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.optimizer = optimizer
        self.schedule = schedule
        self.seed = seed
        self.train_sums = EpochSums(*self.sums)
        self.latest = {}
        self._resumed_from: dict[str, Any] | None = None  # until the optimizer is built
        self.has_weights = False  # those of a checkpoint, which no initialisation may replace

    # --- for subclasses ----------------------------------------------------------------------------------------

    @abstractmethod
    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        """Return metrics, by name without stage, from the totals of `sums` over an epoch and all processes."""

    def build_optimizer(self) -> Optimizer:
        """Return the optimizer of the network's parameters."""
        return self.optimizer_of(parameter_groups(self.architecture))

    def optimizer_of(self, groups: Iterable[dict[str, Any]]) -> Optimizer:
        """Return the optimizer of parameter groups.

        Raises:
            ValueError: The module was built without one.
        """
        if self.optimizer is None:
            raise ValueError(missing_for_fit("optimizer"))
        optimizer = self.optimizer(groups)
        use_fused_kernels(optimizer)
        return optimizer

    def initialize_weights(self) -> None:
        """Set the weights that a new run starts from, beyond the network's own initialisation."""

    def check_resumed_data(self) -> None:
        """Raise ValueError if a resumed run cannot continue with this data."""

    def checkpoint_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside weights and sums; called on every process."""
        return {}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore what `checkpoint_state` returned."""

    # --- training ----------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Initialize the weights of a new run; those of a resumed one come from its checkpoint."""
        self._resumed_from = None
        self.train()  # a module from `load_from_checkpoint` is in eval mode, and Lightning would train it so
        if self.trainer.ckpt_path is not None:
            self.check_resumed_data()
            return
        self.train_sums.reset()  # an interrupted fit leaves some
        if not self.has_weights:
            self.initialize_weights()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimizer and its schedule, stepped once per optimizer step.

        Raises:
            ValueError: The module was built without one of them.
        """
        if self.schedule is None:
            raise ValueError(missing_for_fit("schedule"))
        return with_schedule(self.build_optimizer(), self.schedule, self.trainer, self._resumed_from)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed torch's global generators: dropout does not take a generator."""
        begin_step(self.compile_network)
        if batch_idx == 0:  # there is nothing yet, unless a resumed epoch begins again
            self.train_sums.reset()
        seed_global_generators("dropout", self.seed, self.current_epoch, batch_idx, self.global_rank)

    def weigh(self, loss: Tensor, batch_idx: int) -> Tensor:
        """Return the mean loss of a batch, scaled so that all batches of an optimizer step have the same weight.

        Lightning divides it by `accumulate_grad_batches`, although the last step of an epoch may have fewer batches.
        """
        if self._trainer is None or self._trainer.accumulate_grad_batches == 1:
            return loss
        return loss * (self._trainer.accumulate_grad_batches / len(accumulated_batches(self._trainer, batch_idx)))

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics and the learning rate."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict({**self.mean_metrics("train", self.train_sums), "lr": rate})

    def on_validation_start(self) -> None:
        """Validate with the running statistics of the first process, which are those that a checkpoint holds."""
        copy_from_first(self.architecture.buffers())

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Release what the compiled network computed for the previous batch."""
        begin_step(self.compile_network)

    def training_metrics(self) -> list[str]:
        """Return the names of what `on_train_epoch_end` logs."""
        return [*(f"train/{name}" for name in self.metrics_of(dict.fromkeys(self.sums, 0.0))), "lr"]

    def mean_metrics(self, stage: str, sums: EpochSums) -> dict[str, float]:
        """Return the metrics of `sums` over all processes, each of which must call this, and reset the sums."""
        totals = sums.total()
        sums.reset()
        return {f"{stage}/{name}": value for name, value in self.metrics_of(totals).items()}

    # --- checkpoints -------------------------------------------------------------------------------------------

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device = "cpu",
        strict: bool = True,
        weights_only: bool = True,
        trust_checkpoint: bool = False,
        **changes: Any,
    ) -> Self:
        """Return the module of a checkpoint that `oneforall fit` wrote, in eval mode, ready to use.

        Args:
            checkpoint_path: The file. It is read as data, and its config passes the gate of `utils/trust.py`.
            map_location: Where the module is put.
            strict: Whether the weights must be exactly those of the module.
            weights_only: Lightning's name for reading as data; false needs `trust_checkpoint`.
            trust_checkpoint: Whether the checkpoint may run any code: its config may name any class, and the file may
                be a pickle, such as that of a module built in Python.
            **changes: Arguments that differ from those of the checkpoint, such as `tta="none"`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged or holds another module, its weights do not fit, or it names anything but
                classes of this program, torch.optim and torchmetrics.
        """
        if trust_checkpoint:
            module = super().load_from_checkpoint(
                checkpoint_path, map_location, strict=strict, weights_only=False, **changes
            )
        elif weights_only:
            module = load_module(cls, checkpoint_path, strict, changes).to(map_location)
        else:
            raise ValueError("weights_only=False lets the file run any code: pass trust_checkpoint=True to allow it")
        module.has_weights = True
        return module.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the module's state, the sums of the epoch so far, and the digests of the weights."""
        checkpoint[self.state_key] = {**self.checkpoint_state(), "train_sums": self.train_sums.parts()}
        if self.global_rank == 0:  # it writes them; callbacks, whose hooks come first, have put averages in their place
            add_digests(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Verify a checkpoint; restore the module's state and, if training resumes, the sums of the epoch so far.

        Raises:
            ValueError: Its weights were altered or are not finite, or it is of another module, or malformed.
        """
        verify_loaded(checkpoint, self.state_key, self.state_types, self._trainer, optional=self.state_added)
        state = checkpoint[self.state_key]
        self.load_checkpoint_state(state)
        if self._trainer is not None and self.trainer.state.fn == "fit":
            self.train_sums.load(state["train_sums"], self.global_rank)
            if not self.trainer.optimizers:  # some strategies have built them already
                self._resumed_from = checkpoint
