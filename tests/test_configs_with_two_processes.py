"""Every kind of config in configs/ starts with two processes and weight averaging, and trains, validates and saves."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datamodules.cifar10_copy import write_copy
from tests.photographs import write_photographs
from tests.test_configs import ALIKE, CONFIGS, DOWNLOADED, HUGE, ROOT, with_configs, written
from tests.test_configs import RUNS as ALL_RUNS

RUNS = [name for name in ALL_RUNS if name not in (*ALIKE, *HUGE, *DOWNLOADED)]
EMA_FILE = ["--config", "ema.yaml"]
EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.9}\n"
SHORT = "trainer: {max_epochs: 1, limit_train_batches: 2, limit_val_batches: 1, accelerator: cpu, devices: 2}\n"
CIFAR10 = ["--data.root", "data", "--data.verify", "false", "--data.validation_size", "40", "--data.batch_size", "4"]
SMALL = ["--model.architecture.config.num_layers", "1", "--model.architecture.config.vocab_size", "512"]
PHOTOGRAPHS = ["--model.init_from", "null", "--data.image_size", "32", "--data.batch_size", "4"]
CHANGES = {
    "images/finetune.yaml": PHOTOGRAPHS,
    "images/scratch.yaml": PHOTOGRAPHS,
    "t5/finetune.yaml": ["--model.init_from", "null", "--data.tokenizer", "null", "--data.vocab_size", "400", *SMALL],
    "t5/pretrain.yaml": [
        *SMALL,
        "--data.vocab_size",
        "400",
        "--data.batch_tokens",
        "1024",
        "--data.max_source_length",
        "64",
    ],
    "scitldr.yaml": ["--data.vocab_size", "300"],
    "multi30k/en-de.yaml": ["--data.vocab_size", "300"],
    "multi30k/de-en.yaml": ["--data.vocab_size", "300"],
}
"""What small data, or data that this test does not have, makes necessary."""


def write_data(folder: Path) -> None:
    """Write what the configs read: random images, and sentences of random words."""
    draw = np.random.default_rng(0)
    words = [f"{a}{b}{c}" for a in "bdkmt" for b in "aeiou" for c in ("", "n", "rs")]

    def sentences(count: int) -> list[str]:
        return [" ".join(draw.choice(words, int(draw.integers(4, 12)))) for _ in range(count)]

    def write(path: str, text: str) -> None:
        file = folder / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode()) if path.endswith(".gz") else text.encode())

    for split, count in (("train", 400), ("val", 6), ("test_2016_flickr", 6)):
        for language in ("en", "de"):
            write(f"multi30k/{split}.{language}.gz", "\n".join(sentences(count)) + "\n")
    for split, count in (("train", 400), ("val", 20)):
        write(f"text/{split}.txt", "\n".join(sentences(count)) + "\n")
    for split, count in (("train", 200), ("dev", 6)):
        rows = ({"source": source, "targets": [source]} for source in sentences(count))
        write(f"scitldr/{split}.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    write_copy(folder / "data")
    write_photographs(folder / "photos", 10)


def train_all(rank: int, ports: list[int]) -> None:
    """Train each config as one of two processes, and print for each whether that worked."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    import cli

    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    for name, port in zip(RUNS, ports, strict=True):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
        os.environ |= {"LOCAL_RANK": str(rank)}
        run_dir = Path("runs") / name.replace("/", "-")
        changes = CHANGES.get(name, CIFAR10 if name.startswith("cifar10") else [])
        ema = (
            []
            if any(each["class_path"] == "EMA" for each in written(name)["trainer"].get("callbacks", []))
            else EMA_FILE
        )
        arguments = [*with_configs(name), *ema, "--config", "short.yaml", *changes, "--report", "false"]
        sys.argv = ["oneforall", "fit", *arguments]
        try:
            cli.main(["fit", *arguments, "--trainer.strategy", "ddp", "--run_dir", str(run_dir), "--debug"])
            print(f"trained {name}", flush=True)
        except BaseException:
            traceback.print_exc()
            return  # the other process waits for this one
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.first
def test_21724_every_kind_of_config_starts_with_two_processes_and_averages(tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "ema.yaml").write_text(EMA)
    (tmp_path / "short.yaml").write_text(SHORT)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in RUNS]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    logs = [(tmp_path / f"rank{rank}.log").open("w+") for rank in (0, 1)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.test_configs_with_two_processes", str(rank), *map(str, ports)],
            cwd=tmp_path, env=environment, stdout=logs[rank], stderr=subprocess.STDOUT,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        for process in processes:
            process.wait(timeout=900)
    finally:
        for process in processes:
            process.kill()
    said = [(tmp_path / f"rank{rank}.log").read_text() for rank in (0, 1)]
    for log in said:
        assert [name for name in RUNS if f"trained {name}\n" not in log] == [], log[-3000:]
    for name in RUNS:
        checkpoint = tmp_path / "runs" / name.replace("/", "-") / "checkpoints" / "last.ckpt"
        content = torch.load(checkpoint, weights_only=True)  # 20058: plain types only
        assert content["global_step"] >= 1
        assert content["averaging_state"]["n_averaged"] == content["global_step"]


def test_all_configs_of_runs_are_there() -> None:
    assert {*CHANGES} <= {*ALL_RUNS}
    assert all((CONFIGS / name).is_file() for name in RUNS)


if __name__ == "__main__":
    train_all(int(sys.argv[1]), [int(port) for port in sys.argv[2:]])
