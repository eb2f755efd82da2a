"""Time our `generate` against transformers' on the same random weights and sources, turn by turn in one process.

    python -m benchmarks.t5_decoding --preset t5-small --beams 1 4

Prints, for each number of beams, the median time of either, their ratio (above 1: ours is faster) and how many rows
have the same tokens. Sources are of different lengths, padded on the right. With random weights next to no result ends
before `--length`, so that nothing is gained by dropping finished rows, as there would be on real text.
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
from tests.architectures.t5.oracle import make_pair_as_theirs_begins


def random_sources(vocab_size: int, batch: int, length: int) -> dict[str, Tensor]:
    """Return sources of half to the whole of `length` tokens and their mask, [batch, length] each."""
    lengths_B = torch.randint((length + 1) // 2, length + 1, (batch, 1))
    mask_BS = torch.arange(length) < lengths_B
    return {"input_ids": torch.randint(2, vocab_size, (batch, length)) * mask_BS, "attention_mask": mask_BS.long()}


def timed(function: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float]:
    """Return what `function` returns and how long it took, in seconds."""
    start = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start


def compare(ours: T5, theirs: Any, sources: dict[str, Tensor], beams: int, length: int, rounds: int) -> str:
    """Return a line about `rounds` of decoding by both, after one of each that does not count."""
    options: dict[str, Any] = {"max_length": length, "num_beams": beams}
    # With its cache transformers cannot decode where the decoder is deeper than the encoder.
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
    parser.add_argument("--preset", default="t5-small", choices=PRESETS, help="shape of the model (t5-small)")
    parser.add_argument("--layers", type=int, help="blocks of encoder and decoder instead of the preset's")
    parser.add_argument("--vocab-size", type=int, help="pieces instead of the preset's")
    parser.add_argument("--batch", type=int, default=16, help="sources (16)")
    parser.add_argument("--source", type=int, default=32, help="tokens of the longest source (32)")
    parser.add_argument("--length", type=int, default=32, help="tokens of a result, the start token included (32)")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4], help="numbers of beams, 1 is greedy (1 4)")
    parser.add_argument("--rounds", type=int, default=5, help="times each is timed (5)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (cpu)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of weights (float32)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and sources (0)")
    return parser


def main() -> None:
    """Compare as the command line says."""
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
