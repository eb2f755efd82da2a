"""All benchmarks of a CPU in one command, in less than 20 minutes on two cores: `make bench`.

python -m benchmarks.cpu
python -m benchmarks.cpu --quick --output /tmp/quick
"""

import sys
from pathlib import Path

from benchmarks.rows import Row, check_output, options_of_rows, run_rows
from utils.precision import preferred_precision

BUDGET = 19.5 * 60.0
DECODING = ("--preset", "t5-small", "--beams", "1", "4", "--length", "64", "--rounds", "3")


def rows(data: Path, peers: Path | None) -> list[Row]:
    """Return the rows; together they stay below the budget on two idle cores."""
    images = ("--data", str(data.absolute()), *(("--peers", str(peers.absolute())) if peers else ()))
    in_fp32 = Row("image_training", (*images, "--precision", "32-true"), 150)
    return [
        Row("t5_training", (), 100),
        Row("t5_training", ("--precision", "bf16-mixed"), 100),
        Row("image_training", images, 130),
        *([in_fp32] if preferred_precision("cpu") != "32-true" else []),  # elsewhere it is shipped so
        Row("t5_decoding", DECODING, 170),
        Row("t5_decoding", (*DECODING, "--dtype", "bfloat16"), 170),
        Row("translation", ("--data", str(data.absolute() / "multi30k"), "--rounds", "1"), 320),
        Row("bare_loop", ("--rounds", "8"), 180),
        Row("augmentation", (), 60),
        Row("start", (), 100),
        Row("text_preparation", (), 400),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks with the options of the command line."""
    parser = options_of_rows("cpu", __doc__, peers="pytorch-cifar")
    args = parser.parse_args(arguments)
    check_output(parser, args)
    chosen = [row for row in rows(args.data, args.peers) if not args.only or row.program in args.only]
    sys.exit(run_rows(chosen, ["--quick"] if args.quick else [], args.output.absolute(), BUDGET) > 0)


if __name__ == "__main__":
    main()
