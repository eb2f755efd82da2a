"""Time a training step of our T5 against transformers' on the same batches, turn by turn in one process.

    python -m benchmarks.t5_training --batch 120 --source 16 --target 18

A step is the loss with label smoothing, its gradients, and AdamW, with dropout. Prints the median time of either and
their ratio (above 1: ours is faster). The shape is that of configs/multi30k unless a preset is named.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from architectures.t5.config import PRESETS, T5Config
from benchmarks.t5_decoding import timed
from tests.architectures.t5.oracle import make_pair_as_theirs_begins

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
    """Return a function that takes one step and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def main() -> None:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.t5_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=PRESETS, help="shape of the model (that of configs/multi30k)")
    parser.add_argument("--dropout", type=float, default=0.1, help="share dropped (0.1)")
    parser.add_argument("--batch", type=int, default=120, help="pairs (120)")
    parser.add_argument("--source", type=int, default=16, help="tokens of a source (16)")
    parser.add_argument("--target", type=int, default=18, help="tokens of a target (18)")
    parser.add_argument("--rounds", type=int, default=10, help="steps of each that are timed (10)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batch (0)")
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
        f"ours {medians['ours']:.3f} s, transformers {medians['transformers']:.3f} s a step, "
        f"ratio {medians['transformers'] / medians['ours']:.2f}"
    )


if __name__ == "__main__":
    main()
