"""The checkpoints of published rows, prepared for a release. None of them is in the repository.

    python -m scripts.release_checkpoints --runs runs --output release
    gh release create v0.2.0 release/*                                   # or `gh release upload v0.2.0 release/*`

For each run in `results/`, the checkpoint that was tested is looked for in the run folder of the same name, compared
with the SHA-256 in `run.json`, and copied as NAME.ckpt; SHA256SUMS lists them all. Check a downloaded one
with `sha256sum --check --ignore-missing SHA256SUMS`, and use it as it is: `oneforall test --ckpt_path custom_cnn.ckpt`.
A checkpoint has the config, class names or tokenizer, and the state of optimizer and callbacks. The paths in it are
those that the run was given: relative ones reveal nothing about your machine.
"""

import argparse
import hashlib
import shutil
from pathlib import Path

from scripts.results.runs import RESULTS, Run, read_runs
from utils.files import write_lines


def prepare(published: list[Run], runs: Path, output: Path) -> tuple[list[str], list[str]]:
    """Copy the checkpoints of published runs.

    Args:
        published: The runs.
        runs: Folder of the run folders.
        output: Folder to copy to.

    Returns:
        A line for each checkpoint that was copied, and a reason for each that was not.
    """
    sums, reasons = [], []
    output.mkdir(parents=True, exist_ok=True)
    for run in published:
        tested = run.record.get("checkpoint")
        if tested is None:
            reasons.append(f"{run.name}: run.json names no checkpoint")
            continue
        path = runs / run.name / tested["file"]
        if not path.is_file():
            reasons.append(f"{run.name}: {path} does not exist")
        elif digest(path) != tested["sha256"]:
            reasons.append(f"{run.name}: {path} is not the checkpoint that was tested")
        else:
            shutil.copyfile(path, output / f"{run.name}.ckpt")
            sums.append(f"{tested['sha256']}  {run.name}.ckpt")
    write_lines(output / "SHA256SUMS", sums)
    return sums, reasons


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, copy the checkpoints and print what was copied."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.release_checkpoints",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    parser.add_argument("--output", type=Path, default=Path("release"), help="folder to copy to")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the published runs")
    options = parser.parse_args(arguments)
    sums, reasons = prepare(read_runs(options.results), options.runs, options.output)
    print(*sums, *(f"left out: {reason}" for reason in reasons), sep="\n")


if __name__ == "__main__":
    main()
