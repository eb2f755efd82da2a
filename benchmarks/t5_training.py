"""Benchmark of a training step of our T5 against transformers', alternating in one process on the same batch.

    python -m benchmarks.t5_training --batch 120 --source 16 --target 18

A step computes the loss with label smoothing and dropout, its gradients, and the AdamW update. The program prints both
median times and their ratio (above 1, ours is faster). Without `--preset` the model has the shape of configs/multi30k.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from architectures.t5.config import PRESETS, T5Config
from benchmarks.t5_decoding import timed
from benchmarks.transformers_t5 import make_pair_as_theirs_begins

SMOOTHING = 0.1
MULTI30K: dict[str, Any] = {
    "vocab_size": 8000,
    "d_model": 256,
    "d_kv": 64,
    "d_ff": 1024,
    "num_layers": 3,
    "num_heads": 4,
}


def stepper(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return a function that takes one optimizer step and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def main() -> None:
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.t5_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=PRESETS, help="shape of the model (default: that of configs/multi30k)")
    parser.add_argument("--dropout", type=float, default=0.1, help="dropout rate (default: 0.1)")
    parser.add_argument("--batch", type=int, default=120, help="number of pairs (default: 120)")
    parser.add_argument("--source", type=int, default=16, help="tokens per source (default: 16)")
    parser.add_argument("--target", type=int, default=18, help="tokens per target (default: 18)")
    parser.add_argument("--rounds", type=int, default=10, help="timed steps per model (default: 10)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and batch (default: 0)")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    changes: dict[str, Any] = {"dropout_rate": args.dropout}
    config = T5Config.preset(args.preset, **changes) if args.preset else T5Config(**MULTI30K, **changes)
    device = torch.device(args.device)
    ours, theirs = (model.to(device).train() for model in make_pair_as_theirs_begins(config))
    source = torch.randint(2, config.vocab_size, (args.batch, args.source), device=device)
    target = torch.randint(2, config.vocab_size, (args.batch, args.target), device=device)
    mask = torch.ones_like(source)
    tokens = target.numel()

    def their_loss() -> Tensor:
        logits = theirs(input_ids=source, attention_mask=mask, labels=target).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), label_smoothing=SMOOTHING)

    steps = {
        "ours": stepper(ours, lambda: ours.loss(source, mask, target, SMOOTHING).loss / tokens),
        "transformers": stepper(theirs, their_loss),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for counted in [False] * 2 + [True] * args.rounds:
        for name, step in steps.items():
            _, time = timed(step, device)
            if counted:
                times[name].append(time)
    medians = {name: statistics.median(values) for name, values in times.items()}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(
        f"{args.preset or 'multi30k'}, float32, {where}, {args.batch} pairs of {args.source} and {args.target} tokens: "
        f"ours {medians['ours']:.3f} s, transformers {medians['transformers']:.3f} s per step, "
        f"ratio {medians['transformers'] / medians['ours']:.2f}"
    )


if __name__ == "__main__":
    main()
