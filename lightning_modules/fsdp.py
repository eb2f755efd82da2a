"""Fully sharded data parallelism (FSDP): each process keeps a part of weights, gradients and optimizer state.

Zhao et al. 2023, arXiv:2304.11277; here by `torch.distributed.fsdp.fully_shard` ("FSDP2") within Lightning's
`ModelParallelStrategy`. `configs/trainer/fsdp.yaml` says what is done block by block, and how much memory that takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_modules.optim.adafactor import Adafactor
from lightning_modules.optim.muon import Muon

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule

WHOLE_MATRICES = (Adafactor, Muon, torch.optim.Adafactor, torch.optim.Muon)
"""Optimizers whose step for a part of a matrix depends on the rest of it."""


class FullySharded(ModelParallelStrategy):
    """Strategy that splits weights, gradients and optimizer state evenly over all processes, and the data like DDP.

    A module takes part by calling `shard` in its `configure_model`. In training, the weights of one block at a time are
    whole; in an evaluation all are, because the processes generate different numbers of tokens and would wait for each
    other in vain. A checkpoint is one file, the same as that of a single process, written by the first. Each process
    loads its part from it, memory-mapped.
    """

    # Restore weights before the optimizer is built, and its state after, as other strategies do: in between, a resumed
    # run takes the length of its schedule from the checkpoint, and changed settings from its config.
    restore_checkpoint_after_setup = False
    lightning_restore_optimizer = True

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Start the processes, all of which get a part."""
        assert self.cluster_environment is not None
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Build the optimizer of the parts.

        Raises:
            ValueError: The model or a callback cannot work on parts of weights.
        """
        if _root(self.lightning_module) is None:
            raise ValueError(
                f"trainer.strategy FullySharded splits the weights of TextSeq2Seq, but not those of "
                f"{type(self.lightning_module).__name__}; pass --trainer.strategy ddp"
            )
        averaging = [type(each).__name__ for each in vars(trainer)["callbacks"] if isinstance(each, WeightAveraging)]
        if averaging and trainer.state.fn == "fit":
            raise ValueError(
                f"trainer.callbacks has {averaging[0]}, which copies whole weights, and trainer.strategy FullySharded "
                "splits them; remove the callback, or pass --trainer.strategy ddp"
            )
        super().setup(trainer)
        needy = [type(each).__name__ for each in self.optimizers if isinstance(each, WHOLE_MATRICES)]
        if needy:
            raise ValueError(
                f"model.optimizer {needy[0]} needs whole matrices, and trainer.strategy FullySharded splits them; use "
                "ScaledAdamW or torch.optim.AdamW, or pass --trainer.strategy ddp"
            )

    # --- optimizer state -----------------------------------------------------------------------------------------

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state of an optimizer, as its `state_dict` without sharding; only on the first process.

        It is empty on the others. Lightning's own version numbers the parameters in another order, in which a single
        process would not find them again.
        """
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        assert self.model is not None
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        found: dict[str, Any] = get_optimizer_state_dict(self.model, optimizer, options=options)
        if not found:
            return {}
        number = {name: place for place, name in enumerate(self._names_in(optimizer))}
        return {
            "state": {number[name]: state for name, state in found["state"].items()},
            "param_groups": [
                {**group, "params": [number[name] for name in group["params"]]} for group in found["param_groups"]
            ],
        }

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of the optimizer state in a checkpoint."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        assert self.model is not None
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            numbers = [number for group in saved["param_groups"] for number in group["params"]]
            name = dict(zip(numbers, self._names_in(optimizer), strict=True))
            named: dict[str, Any] = {
                "state": {name[number]: state for number, state in saved["state"].items()},
                "param_groups": [
                    {**group, "params": [name[number] for number in group["params"]]} for group in saved["param_groups"]
                ],
            }
            options = StateDictOptions(full_state_dict=True)
            set_optimizer_state_dict(self.model, optimizer, named, options=options)

    def _names_in(self, optimizer: Optimizer) -> list[str]:
        """Return the names of the parameters of an optimizer, in the order of its groups."""
        assert self.lightning_module is not None
        names = {parameter: name for name, parameter in self.lightning_module.named_parameters()}
        return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]

    # --- evaluation --------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Make the weights whole on every process."""
        self._gather()

    def on_test_start(self) -> None:
        """Make the weights whole on every process."""
        self._gather()

    def on_predict_start(self) -> None:
        """Make the weights whole on every process."""
        self._gather()

    def on_validation_end(self) -> None:
        """Keep this process's part of the weights."""
        self._release()

    def on_test_end(self) -> None:
        """Keep this process's part of the weights."""
        self._release()

    def on_predict_end(self) -> None:
        """Keep this process's part of the weights."""
        self._release()

    def _gather(self) -> None:
        root = _root(self.lightning_module)
        assert root is not None
        root._get_fsdp_state()._lazy_init()  # otherwise the first block that runs takes itself for the root
        root.set_reshard_after_forward(False)
        for module in _parts(self.lightning_module):
            module.unshard()

    def _release(self) -> None:
        root = _root(self.lightning_module)
        assert root is not None
        for module in _parts(self.lightning_module):
            module.reshard()
            module.set_reshard_after_forward(module is not root, recurse=False)


def shard(network: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh, low_precision: bool) -> None:
    """Split the weights of a network: those of each block together, and the rest together.

    Args:
        network: The network, changed in place. Training calls it by `forward` or `loss`.
        blocks: Its blocks, in the order of the forward pass. What is outside of them, such as an embedding, is whole
            throughout a step.
        mesh: The processes, in one dimension.
        low_precision: Whether whole weights of blocks are in bfloat16, in which autocast computes; the parts, their
            gradients and sums of those stay in float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    policy = MixedPrecisionPolicy()
    if low_precision:  # inputs stay as they are: autocast keeps the residual stream in float32
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    parts: list[FSDPModule] = [fully_shard(block, mesh=mesh, mp_policy=policy) for block in blocks]
    parts.insert(0, fully_shard(network, mesh=mesh))
    # Set what is prefetched in the backward pass. By default it is what was called before in any forward pass,
    # including those of an evaluation, which differ between processes: they would wait for different weights
    for place, part in enumerate(parts):
        part.set_modules_to_backward_prefetch([parts[place - 1]])
    if hasattr(network, "loss"):
        register_fsdp_forward_method(network, "loss")


def load_whole(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy whole weights into a network, of which this process may have only a part."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(network, dict(weights), options=StateDictOptions(full_state_dict=True))


def is_split(network: nn.Module) -> bool:
    """Return whether `shard` has split the weights of a network."""
    return _root(network) is not None


def _root(module: nn.Module | None) -> FSDPModule | None:
    """Return the outermost module that was split."""
    return next(_parts(module), None)


def _parts(module: nn.Module | None) -> Iterator[FSDPModule]:
    from torch.distributed.fsdp import FSDPModule

    return (each for each in (module.modules() if module is not None else ()) if isinstance(each, FSDPModule))
