"""The CIFAR-10 training script that most people copy, rewritten in its plainest form: a peer to compare with.

torchvision's dataset and transforms, one image at a time, two loader workers, fp32, images in NCHW, SGD with momentum,
`loss.item()` after every step. The network is the ResNet-18 with a 3x3 stem that such scripts train, by the same
definition as ours. `benchmarks/peers.py` runs a published script instead, if there is one at hand.
"""

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from architectures.resnet import ResNet
from benchmarks.turns import Turns
from datamodules.cifar10 import MEAN, STD
from datamodules.images.cifar10_files import FOLDER, TRAIN_FILES


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """CIFAR-10's training images as torchvision's `CIFAR10` has them: arrays that become PIL images one by one."""

    def __init__(self, root: Path) -> None:
        import torchvision.transforms as T

        parts = [pickle.loads((root / FOLDER / name).read_bytes(), encoding="latin1") for name in TRAIN_FILES]
        parts = [{str(key.decode() if isinstance(key, bytes) else key): part[key] for key in part} for part in parts]
        pixels = np.concatenate([part["data"] for part in parts])
        self.images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, H, W, C]
        self.labels = [int(label) for part in parts for label in part["labels"]]
        self.transform = T.Compose(
            [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        """Return an augmented, normalised image [3, 32, 32] and its label."""
        from PIL import Image

        return self.transform(Image.fromarray(self.images[place])), self.labels[place]


def train(turns: Turns, root: Path, batch: int, depth: int = 18, workers: int = 2) -> None:
    """Train until the turns are over.

    Args:
        turns: The turns.
        root: Folder that holds `cifar-10-batches-py`.
        batch: Images per step.
        depth: Depth of the ResNet.
        workers: Processes that load images.
    """
    loader = DataLoader(Images(root), batch_size=batch, shuffle=True, num_workers=workers)
    network = ResNet(depth=depth, num_classes=10, stem="cifar").to(turns.device)
    turns.facts |= {"parameters": sum(each.numel() for each in network.parameters()), "images": batch}
    if turns.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    network.train()
    total_loss, correct = 0.0, 0
    while True:
        for images, labels in loader:
            images, labels = images.to(turns.device), labels.to(turns.device)
            optimizer.zero_grad()
            outputs = network(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
            correct += outputs.argmax(1).eq(labels).sum().item()
            turns.step()
