"""Benchmark of a training step of our T5 against transformers', alternating in one process on the same batch.

    python -m benchmarks.t5_training --batch 120 --source 16 --target 18
    python -m benchmarks.t5_training --preset t5-base --batch 32 --source 512 --target 114 --device cuda \
        --precision bf16-mixed --compile default

A step computes the loss with label smoothing and dropout, its gradients, and the AdamW update. Without dropout, both
losses are the same. Without `--preset` the model has the shape of configs/multi30k.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from architectures.t5.config import PRESETS, T5Config
from benchmarks.floors import peak_arithmetic, t5_multiply_adds, training_operations
from benchmarks.paired import Comparison, add_compile_option, compare, finish, options
from benchmarks.transformers_t5 import make_pair_as_theirs_begins
from utils.machine import ROOT

SMOOTHING = 0.1
TOLERANCE = 1e-5
"""Largest relative difference of the losses, in float32: in bfloat16, those of any untrained networks are as close."""
TYPE = {"32-true": ("fp32", torch.float32), "bf16-mixed": ("bf16", torch.bfloat16)}
"""dtype of most of the arithmetic: its short name, and torch's."""
MULTI30K = ROOT / "configs/multi30k/en-de.yaml"
QUICK: dict[str, Any] = {"vocab_size": 100, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


def multi30k_shape() -> dict[str, Any]:
    """Return the fields of the config of the shipped Multi30k network, but those of its dropout."""
    network = yaml.safe_load(MULTI30K.read_text(encoding="utf-8"))["model"]["init_args"]["architecture"]
    return {name: value for name, value in network["init_args"]["config"].items() if not name.startswith("dropout")}


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


def compare_steps(config: T5Config, args: argparse.Namespace) -> Comparison:
    """Time training steps of both models, and of transformers' compiled one if ours is compiled."""
    device: torch.device = args.device
    pair = make_pair_as_theirs_begins(config)
    ours, theirs = (model.to(device).train() for model in pair)
    source = torch.randint(2, config.vocab_size, (args.batch, args.source), device=device)
    target = torch.randint(2, config.vocab_size, (args.batch, args.target), device=device)
    mask = torch.ones_like(source)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16-mixed")
    in_float32 = torch.autocast(device.type, enabled=False)

    def our_loss(precision: torch.autocast = autocast) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # does nothing without CUDA graphs
        with precision:
            return ours.loss(source, mask, target, SMOOTHING).loss / target.numel()

    def loss_of(model: Any, precision: torch.autocast = autocast) -> Callable[[], Tensor]:
        def their_loss() -> Tensor:
            with precision:
                logits = model(input_ids=source, attention_mask=mask, labels=target).logits
            return nn.functional.cross_entropy(
                logits.float().flatten(0, 1), target.flatten(), label_smoothing=SMOOTHING
            )

        return their_loss

    def check() -> str:
        for model in (ours, theirs):
            model.eval()
        # Compiled here, without gradients, the networks would be compiled again to train
        with torch.compiler.set_stance("force_eager"), torch.no_grad():
            mine, yours = our_loss(in_float32).item(), loss_of(theirs, in_float32)().item()
        for model in (ours, theirs):
            model.train()
        difference = abs(mine - yours) / yours
        if not difference <= TOLERANCE:
            raise AssertionError(f"without dropout the losses differ: ours {mine}, theirs {yours}")
        return f"without dropout and in float32 the losses differ by {difference:.1e} at most, relative"

    contestants = {"ours": stepper(ours, our_loss), "transformers": stepper(theirs, loss_of(theirs))}
    if args.compile:
        for part in (ours.encoder, ours.decoder):
            part.compile(mode=args.compile)
        contestants["transformers compiled"] = stepper(theirs, loss_of(torch.compile(theirs, mode=args.compile)))
    shape = args.preset or "T5 of Multi30k"
    work = f"{shape}, training step, {args.batch} x ({args.source} + {args.target}) tokens, {args.precision}"
    name = f"{args.preset or 't5'}_training_{TYPE[args.precision][0]}".replace("-", "_")
    return compare(name, work, contestants, check, rounds=args.rounds, warm_up=3, device=device, limit=args.seconds)


def add_figures(comparison: Comparison, config: T5Config, args: argparse.Namespace) -> None:
    """Add tokens per second, and the floor and the share of the peak arithmetic where the peak is known."""
    operations = training_operations(t5_multiply_adds(config, args.source, args.target), args.batch)
    ours = comparison.median("ours")
    comparison.figures["tokens per second"] = args.batch * (args.source + args.target) / ours
    peak = peak_arithmetic(args.device, TYPE[args.precision][1])
    if peak is not None:
        comparison.figures |= {"operations": float(operations), "floor_s": operations / peak}
        for contestant in comparison.times:
            comparison.figures[f"MFU {contestant}"] = operations / peak / comparison.median(contestant)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = options("benchmarks.t5_training", __doc__)
    parser.set_defaults(rounds=10)
    parser.add_argument("--preset", choices=PRESETS, help="shape of the model (default: that of configs/multi30k)")
    parser.add_argument("--dropout", type=float, default=0.1, help="dropout rate (default: 0.1)")
    parser.add_argument("--batch", type=int, default=120, help="number of pairs (default: 120)")
    parser.add_argument("--source", type=int, default=16, help="tokens per source (default: 16)")
    parser.add_argument("--target", type=int, default=18, help="tokens per target (default: 18)")
    parser.add_argument("--precision", default="32-true", choices=TYPE, help="32-true or bf16-mixed (default: 32-true)")
    add_compile_option(parser)  # then transformers is timed compiled too
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and batch (default: 0)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    args = parser().parse_args(arguments)
    torch.manual_seed(args.seed)
    changes: dict[str, Any] = {"dropout_rate": args.dropout}
    if args.quick:
        config = T5Config(**QUICK, **changes)
        args.batch, args.source, args.target, args.rounds = 2, 5, 4, min(args.rounds, 2)
    else:
        config = T5Config.preset(args.preset, **changes) if args.preset else T5Config(**multi30k_shape(), **changes)
    comparison = compare_steps(config, args)
    add_figures(comparison, config, args)
    finish(comparison, args)


if __name__ == "__main__":
    main()
