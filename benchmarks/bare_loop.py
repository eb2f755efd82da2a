"""Benchmark of the program against a bare loop: training steps of ResNet-20 by `oneforall fit` and by a few lines.

    python -m benchmarks.bare_loop --rounds 20

Both train the same network on the same batches, with the same augmentation, SGD and schedule, and take turns of 20
steps within one fit. So the difference is what the command line, the Trainer and the callbacks of every run cost.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from benchmarks.paired import Comparison, finish, options
from benchmarks.shipped import shipped_run
from command_line.memory import keep_freed_memory
from command_line.process import quieten
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet, channel_statistics
from lightning_modules.image_classifier import ImageClassifier
from utils.batches import ImageBatch, RawImageBatch
from utils.contracts import datamodule_of

TURN = 20

Augment = Callable[[RawImageBatch], ImageBatch]
COMPARED = 10
"""Number of steps whose losses are compared: from about the twelfth on, training at a high rate magnifies rounding."""
TOLERANCE = 1e-3
"""Largest relative difference of two losses among them: the program's SGD is fused, and rounds differently."""


class RandomImages(ImageDataModule):
    """Random images of CIFAR-10's size: what they show does not affect the time of a step.

    Args:
        size: Number of training images.
        **options: Arguments of `ImageDataModule`.
    """

    def __init__(self, size: int = 50_000, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        self.class_names = [str(number) for number in range(10)]

    def load_training(self) -> tuple[ImageSet, None]:
        """Return the training images; there is no validation."""
        train = self.load_test()
        self.mean, self.std = channel_statistics(train.images[:1000])
        return train, None

    def load_test(self) -> ImageSet:
        """Return random images."""
        generator = torch.Generator().manual_seed(self.seed)
        images = torch.randint(256, (self.size, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.randint(10, (self.size,), generator=generator))


def bare_losses(
    network: nn.Module, pl_module: ImageClassifier, batches: Iterable[RawImageBatch], augment: Augment
) -> Iterator[Tensor]:
    """Train a copy of a module's network, as a hand-written loop would; yield the loss of each step."""
    trainer = pl_module.trainer
    copies = dict(zip(pl_module.architecture.parameters(), network.parameters(), strict=True))
    groups = [
        {**group, "params": [copies[each] for each in group["params"]], "lr": group["initial_lr"]}
        for group in trainer.optimizers[0].param_groups
    ]
    optimizer = torch.optim.SGD(groups)
    assert pl_module.schedule is not None
    schedule = pl_module.schedule(optimizer, trainer.max_steps)
    for batch in batches:
        images, labels = augment(batch)
        loss = F.cross_entropy(network(pl_module.normalize(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.detach()


class Turns(Callback):
    """Callback that gives the bare loop 20 steps after every 20 of the fit, and times both."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"fit": [], "bare loop": []}
        self.losses: dict[str, list[Tensor]] = {"fit": [], "bare loop": []}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the network before its first step."""
        datamodule = datamodule_of(trainer)
        assert isinstance(datamodule, ImageDataModule)
        assert isinstance(pl_module, ImageClassifier)
        batches = iter(datamodule.train_dataloader())
        first = next(batches)  # now, because a loader asks the Trainer where to begin
        network = copy.deepcopy(pl_module.architecture)
        self._bare = bare_losses(network, pl_module, chain([first], batches), datamodule.augment)
        self._start = now(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: object, batch_idx: int
    ) -> None:
        """Take the bare loop's turn if the fit's is over."""
        self.losses["fit"].append(outputs["loss"])
        if (batch_idx + 1) % TURN:
            return
        middle = now(pl_module.device)
        self.losses["bare loop"] += [next(self._bare) for _ in range(TURN)]
        end = now(pl_module.device)
        self.times["fit"].append((middle - self._start) / TURN)
        self.times["bare loop"].append((end - middle) / TURN)
        self._start = now(pl_module.device)


def now(device: torch.device) -> float:
    """Return the time at which a device has done its work, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def check(losses: dict[str, list[Tensor]]) -> str:
    """Return how closely the losses of the first steps agree.

    Raises:
        ValueError: They do not: the two have not done the same work.
    """
    ours, theirs = (torch.stack(each[:COMPARED]).cpu() for each in losses.values())
    difference = ((ours - theirs) / theirs).abs().max().item()
    if not difference <= TOLERANCE:  # NaN is not
        raise ValueError(f"losses of the first {COMPARED} steps differ by up to {difference:.1e}: not the same work")
    return f"losses of the first {COMPARED} steps equal to {difference:.1e}"


def run(device: torch.device, rounds: int, batch_size: int, seconds: float) -> Turns:
    """Return the callback of a fit as shipped, after one turn to warm up and at most `rounds` more."""
    quieten()
    keep_freed_memory()
    turns = Turns()
    changes: dict[str, Any] = {
        "data.class_path": f"{RandomImages.__module__}.{RandomImages.__name__}",
        "data.batch_size": batch_size,
        "data.size": batch_size * TURN * (rounds + 1),
        "trainer.precision": "32-true",
        "trainer.max_steps": TURN * (rounds + 1),
    }
    if math.isfinite(seconds):
        changes["trainer.max_time"] = time.strftime("00:%H:%M:%S", time.gmtime(seconds))
    with tempfile.TemporaryDirectory() as folder:
        trainer, module, data = shipped_run(["cifar10/resnet20.yaml"], Path(folder), changes, [turns], device)
        trainer.fit(module, datamodule=data)
    return turns


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    parser = options("benchmarks.bare_loop", __doc__)
    parser.add_argument("--batch", type=int, default=128, help="images per step (default: 128)")
    args = parser.parse_args(arguments)
    rounds, batch = (1, 4) if args.quick else (args.rounds or 20, args.batch)
    turns = run(args.device, rounds, batch, args.seconds)
    comparison = Comparison(
        "bare_loop",
        f"ResNet-20, batch {batch}, one step",
        args.device,
        check(turns.losses),
        {name: times[1:] for name, times in turns.times.items()},
        dict.fromkeys(turns.times),
    )
    extra = 1 / comparison.ratio("bare loop") - 1
    comparison.figures["the program adds, %"] = 100 * extra
    comparison.figures["the program adds, ms"] = 1000 * extra * comparison.median("bare loop")
    finish(comparison, args)


if __name__ == "__main__":
    main()
