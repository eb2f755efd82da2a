"""The table of PERFORMANCE.md, from the JSON files of the benchmarks.

python -m benchmarks.table results/benchmarks
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.paired import RESULTS

MUST_REACH = {
    ("resnet18_training_cpu", "plain script"): ">= 1.9",
    ("resnet18_training_cpu", "pytorch-cifar"): ">= 1.9",
    ("resnet18_training_cuda", "plain script"): ">= 4",
    ("resnet18_training_cuda", "pytorch-cifar"): ">= 4",
    ("custom_cnn_cuda", "airbench94_muon"): ">= 0.77",
    ("t5_training_fp32_cpu", "transformers"): ">= 1.6",
    ("t5_training_bf16_cpu", "transformers"): ">= 1.6",
    ("t5_training_bf16_cuda", "transformers"): ">= 3",
    ("t5_base_training_bf16_cuda", "transformers compiled"): ">= 1.2",
    ("t5_decoding_1_float32_cpu", "transformers"): ">= 1.3",
    ("t5_decoding_4_float32_cpu", "transformers"): ">= 1.3",
    ("t5_decoding_1_bfloat16_cpu", "transformers"): ">= 1.3",
    ("t5_decoding_4_bfloat16_cpu", "transformers"): ">= 1.3",
    ("t5_decoding_1_bfloat16_cuda", "transformers"): ">= 5",
    ("t5_decoding_4_bfloat16_cuda", "transformers"): ">= 4",
    ("translation_float32_cpu", "transformers"): ">= 2",
    ("translation_bfloat16_cuda", "transformers"): ">= 5",
    ("bare_loop_cpu", "bare loop"): ">= 0.97",
    **{
        (f"start_{name}_cpu", "import torch"): "< 0.3 s"
        for name in ("help", "version", "fit_help", "unknown_command", "missing_config")
    },
    ("text_preparation_cpu", ""): ">= 8,000 pairs/s; second start < 3 s; <= 200 MiB more",
}
"""Ratio that a comparison, by the name of its file, must reach against a peer."""

HEADER = "| work | ours | peer | ratio (range) | floor | must reach |\n|---|---|---|---|---|---|"


def table(folder: Path, since: float = 0.0) -> str:
    """Return the comparisons in a folder as a Markdown table, with the conditions of each group of rows below it.

    Args:
        folder: Folder of the JSON files.
        since: Time before which files are left out, in seconds since the epoch.
    """
    rows, conditions = [HEADER], []
    for path in sorted(folder.glob("*.json")):
        if path.stat().st_mtime < since:
            continue
        read = json.loads(path.read_text(encoding="utf-8"))
        rows += _rows(path.stem, read)
        condition = _condition(read["machine"])
        if condition not in conditions:
            conditions.append(condition)
    return "\n".join([*rows, "", *conditions])


def _rows(name: str, read: dict[str, Any]) -> list[str]:
    (_, mine), *others = read["contestants"].items()
    floor = _time(read["figures"]["floor_s"]) if "floor_s" in read["figures"] else ""
    if not others:
        figures = "; ".join(f"{key}: {value:,g}" for key, value in read["figures"].items() if key != "floor_s")
        return [_line(read["work"], _time(mine["median_s"]), "none", figures, floor, MUST_REACH.get((name, ""), ""))]
    found = []
    for peer, theirs in others:
        ratio = read["ratios"][peer]
        times = _time(mine["median_s"]), f"{peer} {_time(theirs['median_s'])}"
        ratios = f"**{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f})"
        found.append(_line(read["work"], *times, ratios, floor, MUST_REACH.get((name, peer), "")))
    return found


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _condition(machine: dict[str, Any]) -> str:
    where = machine["device"] if machine["device"] != "CPU" else f"{machine['processor']}, {machine['threads']} threads"
    return (
        f"{where}; torch {machine['torch']}, Python {machine['python']}; {machine['date']}, commit {machine['commit']}."
    )


def main() -> None:
    """Print the table of a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS, help="folder of the JSON files")
    print(table(parser.parse_args().folder))


if __name__ == "__main__":
    main()
