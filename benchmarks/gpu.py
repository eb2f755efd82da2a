"""All benchmarks of a GPU in one command, in at most 8 minutes.

    python -m benchmarks.gpu --peers ~/peers --data ~/datasets
    python -m benchmarks.gpu --device cpu --quick --output /tmp/quick

It needs torch, torchvision, Lightning and transformers, and no network. Peers that are not in the folder are skipped
with a message. Each row has its own process and time limit, and writes its JSON file when it is done.
"""

import sys
from pathlib import Path

from benchmarks.rows import Row, check_output, options_of_rows, run_rows

BUDGET = 8 * 60.0 - 20
BASE = ("--preset", "t5-base", "--batch", "32", "--source", "512", "--target", "114", "--precision", "bf16-mixed")
DECODING = ("--preset", "t5-small", "--beams", "1", "4", "--length", "64", "--dtype", "bfloat16")


def rows(data: Path, peers: Path | None, quick: bool) -> list[Row]:
    """Return the rows, those with a figure to reach first; the quick form compiles nothing, which would take long."""

    def compiled(mode: str) -> tuple[str, ...]:
        return () if quick else ("--compile", mode)

    given = ("--peers", str(peers.absolute())) if peers else ()
    images = ("--data", str(data.absolute()), *given)
    return [
        Row("image_training", (*images, *compiled("reduce-overhead")), 90),
        Row("t5_decoding", DECODING, 60),
        Row("t5_training", ("--precision", "bf16-mixed", "--rounds", "30", *compiled("reduce-overhead")), 80),
        Row("translation", ("--data", str(data.absolute() / "multi30k"), "--dtype", "bfloat16"), 60),
        Row("t5_training", (*BASE, *compiled("default")), 120),
        Row("bare_loop", (), 50),
        Row("custom_cnn", (*images, *compiled("reduce-overhead")), 130),  # last: airbench compiles for a minute or more
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks with the options of the command line."""
    parser = options_of_rows("gpu", __doc__, peers="pytorch-cifar and cifar10-airbench")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ..., or cpu to rehearse (default: cuda)")
    args = parser.parse_args(arguments)
    check_output(parser, args)
    common = ["--device", args.device, *(["--quick"] if args.quick else [])]
    chosen = [row for row in rows(args.data, args.peers, args.quick) if not args.only or row.program in args.only]
    sys.exit(run_rows(chosen, common, args.output.absolute(), BUDGET) > 0)


if __name__ == "__main__":
    main()
