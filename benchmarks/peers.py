"""Published scripts as peers, run as they are from a folder that the user names; none of their code is kept here.

`--peers DIR` is a folder with a copy of, or a link to, each repository by its usual name:

    DIR/pytorch-cifar          github.com/kuangliu/pytorch-cifar
    DIR/cifar10-airbench       github.com/KellerJordan/cifar10-airbench

What a script would download, ask the terminal for, or do two hundred times is replaced; its training is unchanged.
"""

import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.paired import Measured
from benchmarks.turns import Turns
from datamodules.images.cifar10_files import FOLDER, TEST_FILE, TRAIN_FILES, read_batch

PYTORCH_CIFAR = Path("pytorch-cifar", "main.py")
AIRBENCH = Path("cifar10-airbench", "airbench94_muon.py")


def find(peers: Path | None, script: Path) -> Path | None:
    """Return the path of a script in the folder of peers; None, with a message, if it is not there."""
    if peers is not None and (peers / script).is_file():
        return (peers / script).absolute()
    print(f"{script} is skipped: " + ("no --peers" if peers is None else f"not in {peers}"), flush=True)
    return None


def train_pytorch_cifar(turns: Turns, script: Path, root: Path, scratch: Path) -> None:
    """Run pytorch-cifar's main.py with ResNet-18, one of the networks that it offers, until the turns are over.

    Args:
        turns: The turns.
        script: Path of its main.py.
        root: Folder that holds `cifar-10-batches-py`.
        scratch: An empty folder to run in.
    """
    import torchvision

    copy = scratch / "pytorch-cifar"
    shutil.copytree(script.parent, copy, ignore=shutil.ignore_patterns(".git"))
    text = script.read_text(encoding="utf-8")
    text = re.sub(r"^net = \w+\(\)$", "net = ResNet18()", text, flags=re.MULTILINE)
    (copy / "main.py").write_text(text, encoding="utf-8")
    (copy / "data").mkdir()
    (copy / "data" / FOLDER).symlink_to((root / FOLDER).absolute())

    dataset: Any = torchvision.datasets.CIFAR10
    dataset._check_integrity = lambda _: True  # random images have no right checksum
    dataset._load_meta = lambda self: setattr(self, "classes", [str(number) for number in range(10)])
    popen = os.popen
    os.popen = lambda *command, **options: (  # type: ignore[assignment]
        io.StringIO("24 80") if command[0] == "stty size" else popen(*command, **options)
    )

    class Counted(torch.optim.SGD):
        """SGD that counts its steps. The script asks for the loss right after them, so the GPU is waited for anyway."""

        def step(self, closure: Any = None) -> Any:
            result = super().step(closure)
            parameters = sum(each.numel() for group in self.param_groups for each in group["params"])
            turns.facts |= {"parameters": parameters, "images": 128}
            turns.step()
            return result

    torch.optim.SGD = Counted  # type: ignore[misc]
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    for name in ("models", "utils"):  # its modules, of which one has the name of a package of ours
        sys.modules.pop(name, None)
    sys.argv = ["main.py"]
    runpy.run_path("main.py", run_name="__main__")


def run_airbench(script: Path, root: Path, scratch: Path, runs: int, limit: float) -> list[Measured]:
    """Run airbench94_muon.py several times in one process; return time and test accuracy of each, as it prints them.

    Args:
        script: Its path.
        root: Folder that holds `cifar-10-batches-py`.
        scratch: An empty folder to run in.
        runs: Number of runs, after its own warm-up.
        limit: Seconds for all of it; it compiles for a while.

    Raises:
        RuntimeError: It failed, or took longer.
    """
    text = script.read_text(encoding="utf-8").replace("range(200)", f"range({runs})")
    (scratch / script.name).write_text(text, encoding="utf-8")
    (scratch / "cifar10").mkdir()
    for part, names in {"train": TRAIN_FILES, "test": (TEST_FILE,)}.items():
        pairs = [read_batch(root / FOLDER / name) for name in names]
        images = torch.cat([images for images, _ in pairs]).permute(0, 2, 3, 1).contiguous()  # [N, H, W, C]
        labels = torch.cat([labels for _, labels in pairs])
        classes = [str(number) for number in range(10)]
        torch.save({"images": images, "labels": labels, "classes": classes}, scratch / "cifar10" / f"{part}.pt")
    command = [sys.executable, script.name]
    try:
        outcome = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{script.name} took longer than {limit:.0f} s") from None
    if outcome.returncode:
        raise RuntimeError(f"{script.name} failed: {outcome.stderr.strip().splitlines()[-1:]}")
    return read_airbench(outcome.stdout)[-runs:]


def read_airbench(output: str) -> list[Measured]:
    """Return time and test accuracy (with test-time augmentation) from each row `eval` that airbench prints."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if "|" in line]
    header = next((row for row in rows if "epoch" in row), [])
    found = [dict(zip(header, row, strict=False)) for row in rows if "eval" in row]
    return [Measured(float(row["time_seconds"]), None, float(row["tta_val_acc"])) for row in found]
