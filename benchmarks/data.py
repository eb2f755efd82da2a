"""Stand-ins for data sets that are not at hand: same shapes, same amount, random content."""

import pickle
from pathlib import Path

import numpy as np

from datamodules.images.cifar10_files import FOLDER, TEST_FILE, TRAIN_FILES

FIRST = ("a", "the", "one", "this", "no", "some", "every", "another")
NOUNS = 400
VERBS = 120


def cifar10_folder(root: Path, scratch: Path, images: int = 10_000) -> tuple[Path, str]:
    """Return a folder that holds `cifar-10-batches-py`, and what is in it.

    Args:
        root: Where the real data may be.
        scratch: Where random images are written if they are not.
        images: Number of random images per file, of which there are six.
    """
    if all((root / FOLDER / name).is_file() for name in (*TRAIN_FILES, TEST_FILE)):
        return root, "CIFAR-10"
    draw = np.random.default_rng(0)
    (scratch / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in (*TRAIN_FILES, TEST_FILE):
        content = {
            "data": draw.integers(0, 256, (images, 3072), np.uint8),
            "labels": draw.integers(0, 10, images).tolist(),
        }
        (scratch / FOLDER / name).write_bytes(pickle.dumps(content, protocol=2))
    return scratch, "random images"


def sentence_pairs(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return invented sentences of 4 to 20 words and their word-by-word "translations"."""
    draw = np.random.default_rng(seed)
    sources, targets = [], []
    for _ in range(count):
        words = []
        for _ in range(int(draw.integers(2, 8))):
            words += [str(draw.choice(FIRST)), f"n{int(draw.integers(NOUNS))}", f"v{int(draw.integers(VERBS))}"]
        words = words[: int(draw.integers(4, 21))]
        sources.append(" ".join(words) + " .")
        targets.append(" ".join(word[::-1] for word in words) + " .")
    return sources, targets
