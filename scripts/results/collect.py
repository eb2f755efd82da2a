"""Publication of a finished and tested run: its small files are copied into `results/`.

    python -m scripts.results.collect runs/custom_cnn --table cifar10 --data "CIFAR-10, JPEG-75 copy" \
        --test originals=runs/custom_cnn_originals
    python -m scripts.results

The second command regenerates the tables of RESULTS.md. Runs of several seeds are collected one by one, into separate
folders (`--to`); those of the same table and row become one row.
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from scripts.release_checkpoints import digest
from scripts.results.runs import RESULTS
from scripts.results.tables import TABLES
from utils.files import write_text

COPIED = ("config.yaml", "metrics.csv", "test_metrics.json", "test_hypotheses.txt")
MOSES = "moses_bleu.json"
ABSOLUTE = re.compile(r"""(?<![\w./:~-])/[\w.-]+(?:/[\w.-]+)*""")
"""An absolute path, which only this machine has."""


def collect(
    folder: Path,
    to: Path,
    added: dict[str, Any],
    tests: dict[str, Path],
    replaced: dict[str, str],
) -> dict[str, Any]:
    """Copy the small files of a run and write its `run.json`; return what that holds.

    Args:
        folder: The run folder.
        to: Its folder in `results/`, which is replaced; a score over Moses tokens stays if the translations are the
            same.
        added: Fields of `run.json` beyond those that the run has written; see `scripts.results.runs`.
        tests: Folders of the checkpoint's tests on other data, by a name for these data.
        replaced: What to write instead of the absolute paths of this machine.

    Raises:
        ValueError: The run has not ended, was last tested on other data than its config names, or a file names an
            absolute path.
        OSError: A file is missing.
    """
    record = written_record(folder)
    if not record["ended"]:
        raise ValueError(f"{folder} has a run that has not ended; resume it with --resume")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    check_test_data(folder, config)
    check_weights(folder, tests)
    record |= {"seed": config["seed_everything"], "checkpoint": tested_checkpoint(folder)} | added
    record.setdefault("row", network_name(config))
    files = {name: folder / name for name in COPIED if (folder / name).is_file()}
    files |= {f"test_metrics_{name}.json": other / "test_metrics.json" for name, other in tests.items()}
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    texts["run.json"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    for name in texts.keys() - {"metrics.csv", "test_hypotheses.txt"}:
        texts[name] = without_paths(texts[name], replaced, f"{folder}: {name}")
    texts |= kept_score(to, folder)
    if to.is_dir():
        shutil.rmtree(to)
    for name, text in texts.items():
        write_text(to / name, text)
    return record


def kept_score(to: Path, folder: Path) -> dict[str, str]:
    """Return the content of what `scripts.moses_bleu` wrote into `to`, by its name, if it is of these translations."""
    score, hypotheses = to / MOSES, folder / "test_hypotheses.txt"
    if not (score.is_file() and hypotheses.is_file()):
        return {}
    text = score.read_text(encoding="utf-8")
    is_same = json.loads(text).get("hypotheses_sha256") == digest(hypotheses)
    return {MOSES: text} if is_same else {}


def written_record(folder: Path) -> dict[str, Any]:
    """Return what a run has recorded about itself in `run.json`.

    Raises:
        FileNotFoundError: There is no `run.json`.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no run.json, which a fit writes; specify the folder of a run that has trained"
        )
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def check_test_data(folder: Path, config: dict[str, Any]) -> None:
    """Raise ValueError if the last test of a run on texts was not of the files that its config names."""
    task = config["data"]["init_args"].get("task") or {}
    named = [task.get("init_args", {}).get(name) for name in ("test_source", "test_target")]
    path = folder / "test_metrics.json"
    if all(isinstance(name, str) for name in named) and path.is_file():
        tested = json.loads(path.read_text(encoding="utf-8"))["data"]
        if tested != ", ".join(named):
            raise ValueError(
                f"{path} has the scores of {tested}, but the test files in {folder / 'config.yaml'} are "
                f"{', '.join(named)}; run `oneforall test --ckpt_path {folder}` to test on those"
            )


def check_weights(folder: Path, tests: dict[str, Path]) -> None:
    """Raise ValueError if figures are of other weights than those in the run's checkpoint that was tested."""
    if not (folder / "test_metrics.json").is_file():
        return
    tested = json.loads((folder / "test_metrics.json").read_text(encoding="utf-8"))
    if tested.get("checkpoint") is None or "checkpoint_step" not in tested:
        raise ValueError(f"{folder / 'test_metrics.json'} does not say which checkpoint was tested: test it again")
    checkpoint = folder / tested["checkpoint"]
    now = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    if now != tested["checkpoint_step"]:
        raise ValueError(
            f"{folder / 'test_metrics.json'} is of step {tested['checkpoint_step']}, but {checkpoint} is now of step "
            f"{now}: test it again"
        )
    for name, other in tests.items():
        path = other / "test_metrics.json"
        figures = json.loads(path.read_text(encoding="utf-8"))
        other_file, other_step = figures.get("checkpoint"), figures.get("checkpoint_step")
        if (Path(other_file or "").name, other_step) != (checkpoint.name, now):
            raise ValueError(
                f"--test {name}: {path} is of {other_file} at step {other_step}, not of {checkpoint} at step {now}"
            )


def tested_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the name, size and SHA-256 of the checkpoint that a run was tested with; None if it was not tested."""
    if not (folder / "test_metrics.json").is_file():
        return None
    name = json.loads((folder / "test_metrics.json").read_text(encoding="utf-8"))["checkpoint"]
    return {"file": name, "bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)}


def network_name(config: dict[str, Any]) -> str:
    """Return the name of a network with its depth, such as "ResNet-20"."""
    network = config["model"]["init_args"]["architecture"]
    name = network["class_path"].rpartition(".")[2]
    depth = network.get("init_args", {}).get("depth")
    return f"{name}-{depth}" if depth else name


def without_paths(text: str, replaced: dict[str, str], place: str) -> str:
    """Return a text with the given paths replaced.

    Raises:
        ValueError: Another absolute path is in it.
    """
    for old, new in replaced.items():
        text = text.replace(old, new)
    if found := ABSOLUTE.search(text):
        raise ValueError(
            f"{place} names {found[0]}, which exists only on this machine; pass --replace {found[0]}=data, for example"
        )
    return text


def pair(text: str) -> tuple[str, str]:
    """Split NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text} is not of the form NAME=VALUE")
    return name, value


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and collect a run."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.results.collect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, help="run folder")
    parser.add_argument("--table", required=True, choices=TABLES, help="table of RESULTS.md")
    parser.add_argument("--row", help="name of the row (default: that of the network)")
    parser.add_argument("--to", help="folder in results/ (default: the name of the run folder)")
    parser.add_argument("--data", required=True, help="which copy of the data it was trained on, in words")
    parser.add_argument("--note", help="anything else worth knowing about the run")
    parser.add_argument(
        "--test", type=pair, action="append", default=[], metavar="NAME=FOLDER", help="folder of a test on other data"
    )
    parser.add_argument(
        "--replace", type=pair, action="append", default=[], metavar="PATH=NAME", help="what to write for a path"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args(arguments)
    given = {"table": options.table, "row": options.row, "data": options.data, "note": options.note}
    added = {key: value for key, value in given.items() if value is not None}
    to = options.results / (options.to or options.folder.resolve().name)
    if to.resolve().parent != options.results.resolve():
        parser.error(f"--to {options.to} must be the name of a folder within {options.results}, such as custom_cnn")
    tests = {name: Path(folder) for name, folder in options.test}
    had_score = (to / MOSES).is_file()
    try:
        record = collect(options.folder, to, added, tests, dict(options.replace))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if had_score and not (to / MOSES).is_file():
        print(f"note: {to / MOSES} was of other translations and is gone; run `python -m scripts.moses_bleu` again")
    print(f"{to}: {record['row']} in the table {record['table']}; now run `python -m scripts.results`")
    if any("+" in commit or commit == "unknown" for commit in record["commits"]) or len(record["commits"]) > 1:
        print(f"note: the commit is {', '.join(record['commits'])}, which nobody else can check out")


if __name__ == "__main__":
    main()
