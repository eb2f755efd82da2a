"""Benchmark of the start of training on text: pairs per CPU second, the second start, and memory.

    python -m benchmarks.text_preparation --pairs 1000000

It makes pairs of sentences from a made-up language, trains a tokenizer on some of them, and prepares them three times,
each in its own process: a few (for their memory), all of them, and all of them again, whose tokens are then in the
cache. Last it prepares a prediction of three batches. A start lasts until the first batch. Memory is the peak resident
size, less what the process held before it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer

from benchmarks.memory import PeakMemory
from benchmarks.paired import CPU, Comparison, finish, options
from datamodules.text.tasks import PairedFiles
from datamodules.text.tokenizer import train_tokenizer
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from utils.files import write_text

ROOT = Path(__file__).parents[1]
FEW = 10_000
VOCABULARY, WORDS, LETTERS = 8000, 30_000, "etaoinshrdlucmfw"


def sentences(count: int, seed: int) -> Iterator[str]:
    """Yield sentences of 4 to 20 words, whose frequencies follow Zipf's law, one in four with a number of its own."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(list(LETTERS), size)) for size in random.integers(2, 10, WORDS)]
    for number in range(count):
        ranks = random.zipf(1.2, int(random.integers(4, 21))) % WORDS
        sentence = " ".join(words[rank] for rank in ranks)
        yield f"{sentence} {number}." if number % 4 == 0 else f"{sentence}."


def make_corpus(folder: Path, pairs: int) -> None:
    """Write a corpus, a part of it, validation files and a tokenizer into a folder."""
    for seed, side in enumerate(("source", "target")):
        lines = [f"{sentence}\n" for sentence in sentences(pairs, seed)]
        for name, count in (("all", pairs), ("few", FEW), ("val", 100)):
            write_text(folder / f"{name}.{side}", "".join(lines[:count]))
    texts = [line for seed in (0, 1) for line in sentences(min(pairs, FEW), seed)]
    write_text(folder / "tokenizer.json", train_tokenizer(texts, VOCABULARY, num_sentinels=0).to_str())


def data_module(folder: Path, name: str, **options: Any) -> TextSeq2SeqDataModule:
    """Return the datamodule of a corpus in the folder."""
    train, val = ([str(folder / f"{part}.{side}") for side in ("source", "target")] for part in (name, "val"))
    tokenizer, cache = str(folder / "tokenizer.json"), str(folder / "cache")
    return TextSeq2SeqDataModule(PairedFiles(*train, *val), tokenizer=tokenizer, cache_dir=cache, **options)


def start_training(folder: Path, name: str) -> None:
    """Prepare training up to its first batch."""
    data = data_module(folder, name)
    data.prepare_data()
    data.setup("fit")
    data.training_data()
    next(iter(data.train_dataloader()))


def start_prediction(folder: Path, name: str) -> None:
    """Prepare a prediction of three batches up to its first batch."""
    data = data_module(folder, name, predict_path=str(folder / f"{name}.source"))
    data.trainer = Trainer(accelerator="cpu", limit_predict_batches=3, logger=False, enable_checkpointing=False)
    next(iter(data.predict_dataloader()))


def measure(folder: Path, what: str, name: str) -> dict[str, Any]:
    """Return CPU seconds, and memory in MiB or None, of a start, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.text_preparation", "--folder", str(folder), "--start", what, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def run_start(folder: Path, what: str, name: str) -> None:
    """Run a start in this process and print what it took as JSON."""
    begin = time.process_time()
    with PeakMemory(CPU) as memory:
        {"train": start_training, "predict": start_prediction}[what](folder, name)
    print(json.dumps({"seconds": time.process_time() - begin, "mib": memory.more_mib}))


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    parser = options("benchmarks.text_preparation", __doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000, help="number of pairs (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", nargs=2, help=argparse.SUPPRESS)  # the task of a subprocess
    args = parser.parse_args(arguments)
    if args.start:
        run_start(args.folder, *args.start)
        return
    pairs = 2 * FEW if args.quick else args.pairs
    with tempfile.TemporaryDirectory() as folder:
        finish(compare_starts(Path(folder), pairs), args)


def compare_starts(folder: Path, pairs: int) -> Comparison:
    """Return the cost of the starts with a new corpus."""
    make_corpus(folder, pairs)
    few, first, second = (measure(folder, "train", name) for name in ("few", "all", "all"))
    predicted = measure(folder, "predict", "all")
    more = {
        f"MiB more than {FEW:,} pairs, {start} start": None if few["mib"] is None else all_pairs["mib"] - few["mib"]
        for start, all_pairs in (("first", first), ("second", second))
    }
    return Comparison(
        "text_preparation",
        f"CPU seconds of preparing {pairs:,} pairs of texts",
        CPU,
        "",
        {"ours": [first["seconds"]]},
        {"ours": first["mib"]},
        {
            "pairs per CPU second": pairs / first["seconds"],
            "second start, CPU seconds": second["seconds"],
            **more,
            "prediction of three batches, CPU seconds": predicted["seconds"],
        },
    )


if __name__ == "__main__":
    main()
