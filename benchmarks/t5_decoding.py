"""Benchmark of our `generate` against transformers', alternating in one process on the same weights and sources.

    python -m benchmarks.t5_decoding --preset t5-small --beams 1 4

For each beam size it prints both median times and their ratio (above 1, ours is faster), and requires the same tokens
in nearly all rows, in float32: where two hypotheses are equally good, rounding decides. Sources differ in length and
are padded on the right. The weights are random, so hardly any output ends before `--length` tokens: dropping finished
rows, which saves time on real text, gains nothing here.
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from architectures.t5.config import PRESETS, T5Config
from architectures.t5.generation import generate
from architectures.t5.model import T5
from benchmarks.floors import decoding_step_bytes, peak_bandwidth
from benchmarks.paired import Comparison, compare, finish, options
from benchmarks.transformers_t5 import make_pair_as_theirs_begins

SAME_ROWS = 0.9
"""Share of rows that must have the same tokens in float32. In bfloat16, random weights leave near ties everywhere."""
QUICK: dict[str, Any] = {"vocab_size": 100, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


def random_sources(vocab_size: int, batch: int, length: int) -> dict[str, Tensor]:
    """Return sources of `length` / 2 to `length` tokens and their mask, [batch, length] each."""
    lengths_B = torch.randint((length + 1) // 2, length + 1, (batch, 1))
    mask_BS = torch.arange(length) < lengths_B
    return {"input_ids": torch.randint(2, vocab_size, (batch, length)) * mask_BS, "attention_mask": mask_BS.long()}


def same_rows(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of rows with the same tokens, [B, length] each; the shorter ones are padded."""
    longer = max(ours.shape[1], theirs.shape[1])
    mine, yours = (F.pad(tokens, (0, longer - tokens.shape[1])) for tokens in (ours, theirs))  # 0 is the padding
    return (mine == yours).all(1).float().mean().item()


def compare_decoding(
    ours: T5, theirs: Any, sources: dict[str, Tensor], beams: int, args: argparse.Namespace
) -> Comparison:
    """Time decoding by both models, given in float32, after checking that they generate the same."""
    search: dict[str, Any] = {"max_length": args.length, "num_beams": beams}
    # transformers cannot decode with its cache if the decoder is deeper than the encoder.
    their_search = search | {"do_sample": False, "use_cache": ours.config.decoder_depth <= ours.config.num_layers}

    def our_tokens() -> Tensor:
        tokens, _ = generate(ours, sources["input_ids"], sources["attention_mask"], **search)
        return tokens

    def their_tokens() -> Tensor:
        tokens: Tensor = theirs.generate(**sources, **their_search)
        return tokens

    def check() -> str:
        same = same_rows(our_tokens(), their_tokens())
        if same < SAME_ROWS:
            raise AssertionError(f"only {same:.0%} of the rows have the same tokens")
        for model in (ours, theirs):
            model.to(getattr(torch, args.dtype))
        return f"{same:.0%} of the rows have the same tokens in float32"

    what = "greedy" if beams == 1 else f"{beams} beams"
    work = f"{args.preset}, {args.dtype}, {args.batch} sources of up to {args.source} tokens, {args.length} out, {what}"
    name = f"t5_decoding_{beams}_{args.dtype}"
    contestants = {"ours": our_tokens, "transformers": their_tokens}
    limit = args.seconds / len(args.beams)
    comparison = compare(name, work, contestants, check, rounds=args.rounds, device=args.device, limit=limit)
    bandwidth = peak_bandwidth(args.device)
    if bandwidth is not None:
        steps = args.length - 1
        weights = decoding_step_bytes(ours.config, 4 if args.dtype == "float32" else 2)
        comparison.figures["floor_s"] = steps * weights / bandwidth
    return comparison


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = options("benchmarks.t5_decoding", __doc__)
    parser.set_defaults(rounds=5)
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
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "bfloat16"], help="dtype of the weights (default: float32)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and sources (default: 0)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    args = parser().parse_args(arguments)
    torch.manual_seed(args.seed)
    changes = {"num_layers": args.layers, "vocab_size": args.vocab_size}
    config = T5Config.preset(args.preset, **{name: value for name, value in changes.items() if value is not None})
    if args.quick:
        config = T5Config(**QUICK)
        args.batch, args.source, args.length, args.rounds = 2, 5, 4, min(args.rounds, 2)
    sources = {k: v.to(args.device) for k, v in random_sources(config.vocab_size, args.batch, args.source).items()}
    for beams in args.beams:
        ours, theirs = (model.to(args.device) for model in make_pair_as_theirs_begins(config))
        finish(compare_decoding(ours, theirs, sources, beams, args), args)


if __name__ == "__main__":
    main()
