"""Print what a GPU needs to train a T5 with configs/trainer/fsdp.yaml, for several numbers of GPUs.

    python -m scripts.t5_memory configs/t5/3b.yaml

The figures are in GiB, for bf16-mixed, an optimizer with two moments per weight (ScaledAdamW, AdamW), activation
checkpointing, and the batches of the config. They are counted from the shapes of the model, not measured on a GPU, and
leave out the CUDA context and what the allocator wastes: some GiB.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from architectures.t5.config import T5Config
from architectures.t5.loss import LOGITS_AT_ONCE
from architectures.t5.model import T5

GPUS = (1, 2, 4, 8, 16)


class Memory(NamedTuple):
    """What a GPU holds during a step, in bytes.

    Attributes:
        weights: Its part of the weights, in float32.
        gradients: Its part of the gradients.
        optimizer: Its part of the two moments.
        whole: Unsharded tensors: weights outside of blocks and their gradients, and the blocks in use: two in bfloat16,
            as one is fetched ahead, and the gradients of one, in bfloat16 and as they are summed in float32.
        activations: The inputs of all blocks, the inside of one, and the logits of a chunk.
        evaluation: All weights whole, blocks in bfloat16; an evaluation has neither gradients nor much else in `whole`.
    """

    weights: float
    gradients: float
    optimizer: float
    whole: float
    activations: float
    evaluation: float

    @property
    def total(self) -> float:
        """What a step needs, or an evaluation if that is more."""
        kept = self.weights + self.gradients + self.optimizer
        return kept + max(self.whole + self.activations, self.evaluation)


def estimate(config: T5Config, gpus: int, tokens: int, length: int) -> Memory:
    """Return what each of a number of GPUs needs.

    Args:
        config: The model.
        gpus: Number of GPUs.
        tokens: Number of tokens of a batch, sources and targets together.
        length: Number of tokens of each of its sequences.
    """
    with torch.device("meta"):
        model = T5(config)
    count = numel(model)
    blocks = [numel(block) for block in (*model.encoder.blocks, *model.decoder.blocks)]
    outside = count - sum(blocks)
    inputs = max(config.num_layers, config.decoder_depth) * tokens * config.d_model * 4  # a token is on one side only
    logits = LOGITS_AT_ONCE * (4 + 2)
    return Memory(
        weights=4 * count / gpus,
        gradients=4 * count / gpus,
        optimizer=8 * count / gpus,
        whole=8 * outside + (2 * 2 + 2 + 4) * max(blocks),
        activations=inputs + max(inside_a_block(config, tokens, length), logits),
        evaluation=4 * outside + 2 * sum(blocks),
    )


def numel(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def inside_a_block(config: T5Config, tokens: int, length: int) -> int:
    """Return the bytes that the backward pass of a decoder block needs, counted without computing anything.

    The CPU's attention keeps its weights, which a GPU's does not: the figure is an upper bound.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with FakeTensorMode():
        model = T5(T5Config(**{**vars(config), "num_layers": 1, "num_decoder_layers": 1}))
        block, sequences = model.decoder.blocks[0], max(1, tokens // (2 * length))
        x_BLM, memory_BSM = (torch.zeros(sequences, length, config.d_model, requires_grad=True) for _ in range(2))
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16):
            bias = torch.zeros(1, config.num_heads, length, length, dtype=torch.bfloat16)
            block(x_BLM, bias, memory_BSM, torch.zeros(sequences, 1, 1, length, dtype=torch.bfloat16))
        weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    return sum(size for storage, size in kept.items() if storage not in weights)


def table(path: Path) -> list[str]:
    """Return the figures for the config of a T5, one line per number of GPUs."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = content.get("base")
    below = yaml.safe_load((path.parent / base).read_text(encoding="utf-8"))["data"]["init_args"] if base else {}
    data = below | content.get("data", {}).get("init_args", {})
    config = T5Config(**content["model"]["init_args"]["architecture"]["init_args"]["config"])
    length = max(data["max_source_length"], data["max_target_length"])
    names = [*Memory._fields, "total"]
    lines = ["  ".join(["GPUs", *names])]
    for gpus in GPUS:
        memory = estimate(config, gpus, data["batch_tokens"], length)
        cells = [f"{getattr(memory, name) / 2**30:{len(name)}.1f}" for name in names]
        lines.append("  ".join([f"{gpus:4}", *cells]))
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path, help="config of a T5, such as configs/t5/large.yaml")
    print(*table(parser.parse_args(arguments).config), sep="\n")


if __name__ == "__main__":
    main()
