"""Benchmark of `oneforall fit` on CIFAR-10, as shipped, against the script that most people copy: ResNet-18.

    python -m benchmarks.image_training
    python -m benchmarks.image_training --precision 32-true
    python -m benchmarks.image_training --peers ~/peers --device cuda

Ours is configs/cifar10/resnet18.yaml with every callback of a run, in bf16 where that is faster (its precision is
`auto`) or as `--precision` says; the peer is fp32 in NCHW with two loader workers. Both train in their own processes
and take turns of a few steps. Without the real data, the images are random.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from architectures.resnet import ResNet
from benchmarks import peers, plain_cifar10
from benchmarks.data import cifar10_folder
from benchmarks.floors import peak_arithmetic, training_operations
from benchmarks.paired import add_compile_option, compare, finish, options
from benchmarks.turns import Training, Turns
from callbacks.model_size import image_multiply_adds
from utils.precision import preferred_precision

SUFFIX = {None: "", "32-true": "_fp32", "bf16-mixed": "_bf16"}
"""What the file of the figures is called, by the precision that is asked for."""
QUICK = {"data.batch_size": 4, "model.architecture.depth": 20, "data.validation_size": 10}
"""What the quick form changes in the config."""


class CountSteps(Callback):
    """Callback that lets a fit take its turns."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a step."""
        self.turns.step()


def train_ours(turns: Turns, root: Path, scratch: Path, changes: dict[str, Any]) -> None:
    """Train through `fit` until the turns are over.

    Args:
        turns: The turns.
        root: Folder that holds `cifar-10-batches-py`.
        scratch: The run folder.
        changes: What differs from the shipped config.
    """
    from benchmarks.shipped import shipped_run
    from command_line.memory import keep_freed_memory
    from command_line.process import quieten

    quieten()
    keep_freed_memory()
    cuda = turns.device.type == "cuda"
    trainer, module, data = shipped_run(
        ["cifar10/resnet18.yaml", *(["trainer/gpu.yaml"] if cuda else [])],
        scratch,
        {"data.root": str(root), "data.verify": False, **changes},
        [CountSteps(turns)],
        turns.device,
    )
    network: Any = module.architecture
    batch = getattr(data, "batch_size")  # noqa: B009 (of every datamodule of images)
    turns.facts |= {"parameters": sum(each.numel() for each in network.parameters()), "images": batch}
    trainer.fit(module, datamodule=data)


def drop_failed(trainings: dict[str, Training]) -> None:
    """Wait until all have warmed up, and leave out peers that cannot, with a message."""
    for name, training in list(trainings.items()):
        try:
            training.ready()
        except RuntimeError as error:
            if name == "ours":
                raise
            print(f"{name} is skipped: {error}", flush=True)
            del trainings[name]


def check(trainings: dict[str, Training]) -> str:
    """Return what all trainings have in common, once they have warmed up.

    Raises:
        AssertionError: They train networks of different size, or on batches of different size.
    """
    facts = {name: training.ready().result for name, training in trainings.items()}
    first = next(iter(facts.values()))
    if any(each != first for each in facts.values()):
        raise AssertionError(f"the trainings differ: {facts}")
    return f"all train {first['parameters']:,} parameters on {first['images']} images per step"


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    parser = options("benchmarks.image_training", __doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar-10-batches-py (default: data)")
    parser.add_argument("--peers", type=Path, help="folder that holds pytorch-cifar")
    add_compile_option(parser)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), help="ours (default: as shipped, auto)")
    parser.add_argument("--steps", type=int, help="steps per turn (default: 2 on a CPU, 60 on a GPU)")
    args = parser.parse_args(arguments)
    end = time.monotonic() + args.seconds
    cuda = args.device.type == "cuda"
    precision = args.precision or preferred_precision(args.device.type)  # the config's is auto
    batch, depth, images = (4, 20, 20) if args.quick else (128, 18, 10_000)
    steps = args.steps or (60 if cuda and not args.quick else 2)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        root, data = cifar10_folder(args.data, scratch, images)

        def start(train: Any, **given: Any) -> Training:
            return stack.enter_context(Training(train, steps, 2, args.device, root=root.absolute(), **given))

        changes: dict[str, Any] = dict(QUICK) if args.quick else {}
        if args.precision:
            changes["trainer.precision"] = args.precision
        compiled = changes | {"model.compile_network": args.compile} if args.compile else changes
        trainings = {"ours": start(train_ours, scratch=scratch / "ours", changes=compiled)}
        if args.compile:
            trainings["ours, not compiled"] = start(train_ours, scratch=scratch / "eager", changes=changes)
        trainings["plain script"] = start(plain_cifar10.train, batch=batch, depth=depth)
        if not args.quick and (script := peers.find(args.peers, peers.PYTORCH_CIFAR)):
            trainings["pytorch-cifar"] = start(peers.train_pytorch_cifar, script=script, scratch=scratch)
        drop_failed(trainings)
        comparison = compare(
            f"resnet18_training{SUFFIX[args.precision]}",
            f"ResNet-{depth} through fit{'' if args.precision or args.compile else ' as shipped'}, {precision}, "
            f"{steps} steps of {batch} {data}",
            trainings,
            lambda: check(trainings),
            rounds=args.rounds or (2 if args.quick else 4),
            warm_up=0,  # the trainings have
            limit=end - time.monotonic(),  # compiling has taken its part
            device=torch.device("cpu"),  # the trainings wait for their GPU themselves
        )
    comparison.device = args.device
    per_step = comparison.median("ours") / steps
    comparison.figures["images per second"] = batch / per_step
    network = ResNet(depth=depth, num_classes=10, stem="cifar")
    add_floor(comparison.figures, network, batch * steps, args.device, precision)
    finish(comparison, args)


def add_floor(figures: dict[str, Any], network: ResNet, images: int, device: torch.device, precision: str) -> None:
    """Add the time that the arithmetic of a turn takes at the machine's peak, where that is known."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    multiply_adds, peak = image_multiply_adds(network, 32), peak_arithmetic(device, dtype)
    if multiply_adds is not None and peak is not None:
        figures["floor_s"] = training_operations(multiply_adds, images) / peak


if __name__ == "__main__":
    main()
