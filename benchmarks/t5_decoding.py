"""Benchmark of our `generate` against transformers', alternating in one process on the same weights and sources.

    python -m benchmarks.t5_decoding --preset t5-small --beams 1 4

For each beam size it prints both median times, their ratio (above 1, ours is faster), and how many rows have the same
tokens. Sources differ in length and are padded on the right. The weights are random, so hardly any output ends before
`--length` tokens: dropping finished rows, which saves time on real text, gains nothing here.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from architectures.t5.config import PRESETS, T5Config
from architectures.t5.generation import generate
from architectures.t5.model import T5
from benchmarks.transformers_t5 import make_pair_as_theirs_begins


def random_sources(vocab_size: int, batch: int, length: int) -> dict[str, Tensor]:
    """Return sources of `length` / 2 to `length` tokens and their mask, [batch, length] each."""
    lengths_B = torch.randint((length + 1) // 2, length + 1, (batch, 1))
    mask_BS = torch.arange(length) < lengths_B
    return {"input_ids": torch.randint(2, vocab_size, (batch, length)) * mask_BS, "attention_mask": mask_BS.long()}


def timed(function: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float]:
    """Return the result of `function` and its duration in seconds."""
    start = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start


def compare(ours: T5, theirs: Any, sources: dict[str, Tensor], beams: int, length: int, rounds: int) -> str:
    """Time `rounds` of decoding by both models, after one untimed warm-up each, and return the result as one line."""
    options: dict[str, Any] = {"max_length": length, "num_beams": beams}
    # transformers cannot decode with its cache if the decoder is deeper than the encoder.
    their_options = options | {"do_sample": False, "use_cache": ours.config.decoder_depth <= ours.config.num_layers}
    device = sources["input_ids"].device
    our_times, their_times = [], []
    for counted in [False] + [True] * rounds:
        our_tokens, our_time = timed(lambda: generate(ours, **sources, **options)[0], device)  # type: ignore[arg-type]
        their_tokens, their_time = timed(lambda: theirs.generate(**sources, **their_options), device)
        if counted:
            our_times.append(our_time)
            their_times.append(their_time)
    ours_median, theirs_median = statistics.median(our_times), statistics.median(their_times)
    shorter = min(our_tokens.shape[1], their_tokens.shape[1])
    same = (our_tokens[:, :shorter] == their_tokens[:, :shorter]).all(1).sum()
    return (
        f"{beams} beam{'s' if beams > 1 else ''}: ours {ours_median:.3f} s, transformers {theirs_median:.3f} s, "
        f"ratio {theirs_median / ours_median:.2f}; same tokens in {same} of {len(our_tokens)} rows"
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.t5_decoding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", default="t5-small", choices=PRESETS, help="shape of the model (default: t5-small)")
    parser.add_argument("--layers", type=int, help="blocks per stack (default: the preset's)")
    parser.add_argument("--vocab-size", type=int, help="vocabulary size (default: the preset's)")
    parser.add_argument("--batch", type=int, default=16, help="number of sources (default: 16)")
    parser.add_argument("--source", type=int, default=32, help="maximum source length in tokens (default: 32)")
    parser.add_argument(
        "--length", type=int, default=32, help="maximum output length in tokens, start token included (default: 32)"
    )
    parser.add_argument(
        "--beams", type=int, nargs="+", default=[1, 4], help="beam sizes to time; 1 is greedy (default: 1 4)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per model (default: 5)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "bfloat16"], help="dtype of the weights (default: float32)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and sources (default: 0)")
    return parser


def main() -> None:
    """Run the benchmark with the options of the command line."""
    args = parser().parse_args()
    torch.manual_seed(args.seed)
    changes = {"num_layers": args.layers, "vocab_size": args.vocab_size}
    config = T5Config.preset(args.preset, **{name: value for name, value in changes.items() if value is not None})
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    ours, theirs = (model.to(device, dtype) for model in make_pair_as_theirs_begins(config))
    sources = {k: v.to(device) for k, v in random_sources(config.vocab_size, args.batch, args.source).items()}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(
        f"{args.preset}, {args.dtype}, {where}, {args.batch} sources of up to {args.source} tokens, {args.length} out"
    )
    for beams in args.beams:
        print(compare(ours, theirs, sources, beams, args.length, args.rounds), flush=True)


if __name__ == "__main__":
    main()
