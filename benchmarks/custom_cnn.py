"""Benchmark of a whole training run of CustomCNN through `fit`, as shipped, against airbench94_muon.py on the same GPU.

    python -m benchmarks.custom_cnn --device cuda --data ~/datasets --peers ~/peers

Both have trained once before, untimed, so that they begin with compiled code, and have their data at hand. Ours is
timed from the end of the first step to that of the last, validations included, airbench as it times itself. With the
real data, the accuracies on the test images tell what the time buys.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks import peers
from benchmarks.data import cifar10_folder
from benchmarks.paired import Comparison, Measured, add_compile_option, finish, options
from benchmarks.shipped import shipped_run
from command_line.memory import keep_freed_memory
from command_line.process import quieten

QUICK = {
    "model.architecture.widths": [8, 8, 8],
    "data.batch_size": 8,
    "data.validation_size": 10,
    "trainer.max_epochs": 2,
}
"""What the quick form changes in the config."""

WARM_UP = {"trainer.max_epochs": 3, "trainer.limit_train_batches": 2, "trainer.limit_test_batches": 1}
"""What a training has that only compiles: an epoch of each image size."""


class FirstToLast(Callback):
    """The time from the end of the first step to that of the last."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which steps are the first and the last."""
        self.ends = (1, trainer.estimated_stepping_batches)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the clock after the first step and after the last."""
        if trainer.global_step in self.ends:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize(pl_module.device)
            self.seconds = time.perf_counter() - self.seconds


def train(root: Path, scratch: Path, device: torch.device, changes: dict[str, Any]) -> Measured:
    """Train once through `fit`; the result is the test accuracy with test-time augmentation."""
    clock, cuda = FirstToLast(), device.type == "cuda"
    trainer, module, data = shipped_run(
        ["cifar10/custom_cnn.yaml", *(["trainer/gpu.yaml"] if cuda else [])],
        scratch,
        {"data.root": str(root), "data.verify": False, **changes},
        [clock],
        device,
    )
    if cuda:
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
    trainer.fit(module, datamodule=data)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if cuda else None
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    return Measured(clock.seconds, peak, figures["test/accuracy_tta"])


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    parser = options("benchmarks.custom_cnn", __doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar-10-batches-py (default: data)")
    parser.add_argument("--peers", type=Path, help="folder that holds cifar10-airbench")
    add_compile_option(parser)
    args = parser.parse_args(arguments)
    changes: dict[str, Any] = dict(QUICK) if args.quick else {}
    if args.compile:
        changes["model.compile_network"] = args.compile
    quieten()
    keep_freed_memory()
    end = time.monotonic() + min(args.seconds, 3600)
    rounds = args.rounds or (1 if args.quick else 2)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        root, data = cifar10_folder(args.data, scratch, 20 if args.quick else 10_000)
        if args.compile:
            train(root, scratch / "compiled", args.device, changes | WARM_UP)
        found = {"ours": [train(root, scratch / "first", args.device, changes)]}
        script = peers.find(args.peers, peers.AIRBENCH) if args.device.type == "cuda" else None
        if script is not None:  # between our runs: a script cannot be stopped between two of its own
            (scratch / "airbench").mkdir()
            limit = max(1.0, end - time.monotonic())
            try:
                found["airbench94_muon"] = peers.run_airbench(script, root, scratch / "airbench", rounds, limit)
            except RuntimeError as error:
                print(f"airbench94_muon is skipped: {error}", flush=True)
        while len(found["ours"]) < rounds and time.monotonic() < end:
            found["ours"].append(train(root, scratch / f"{len(found['ours'])}", args.device, changes))
    common = min(map(len, found.values()))
    comparison = Comparison(
        "custom_cnn",
        f"CustomCNN, first step to last, {data}",
        args.device,
        "nothing: the recipes differ, and the accuracies are beside the times",
        {name: [each.seconds for each in runs[:common]] for name, runs in found.items()},
        {name: runs[0].peak_mib for name, runs in found.items()},
    )
    for name, runs in found.items():
        comparison.figures[f"test accuracy, {name}"] = sum(each.result for each in runs) / len(runs)
    finish(comparison, args)


if __name__ == "__main__":
    main()
