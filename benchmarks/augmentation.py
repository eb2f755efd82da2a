"""Benchmark of crop, flip and normalisation: whole batches, as in training, against torchvision's image by image.

    python -m benchmarks.augmentation

Both take uint8 images of CIFAR-10's size and return normalised float32 batches of 128. Each of our images is one that
torchvision's transforms can give.
"""

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor

from benchmarks.paired import compare, finish, options
from datamodules.cifar10 import MEAN, STD
from datamodules.images.augmentation import Augmentation

PADDING = 4
BATCH = 128


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    parser = options("benchmarks.augmentation", __doc__)
    args = parser.parse_args(arguments)
    count = 256 if args.quick else 5120
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    augmentation = Augmentation(crop_padding=PADDING, crop_mode="zero", flip="random")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    transform = T.Compose(
        [T.RandomCrop(32, padding=PADDING), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
    )
    places = torch.arange(count)

    def ours() -> list[Tensor]:
        batches = []
        for step, index in enumerate(places.split(BATCH)):
            pixels, _ = augmentation(
                images[index],
                index,
                index,
                key=(0, 0, step, 0),
                num_classes=10,
                fill=MEAN,
                progress=0.0,
            )
            batches.append(torch.addcmul(-mean / std, pixels.float(), 1 / (255 * std)))  # as in ImageClassifier
        return batches

    def theirs() -> list[Tensor]:
        parts = [arrays[start : start + BATCH] for start in range(0, count, BATCH)]
        return [torch.stack([transform(Image.fromarray(array)) for array in part]) for part in parts]

    def check() -> str:
        normalize = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])
        for place in range(0, BATCH, 17):
            padded = T.Pad(PADDING)(Image.fromarray(arrays[place]))
            crops = [
                normalize(T.functional.crop(padded, top, left, 32, 32))
                for top in range(2 * PADDING + 1)
                for left in range(2 * PADDING + 1)
            ]
            possible = torch.stack([*crops, *(crop.flip(2) for crop in crops)])
            nearest = (possible - ours_first[place]).abs().amax((1, 2, 3)).min()
            if nearest > 1e-5:
                raise AssertionError(f"image {place} is not one that torchvision's transforms can give")
        return "each image is one that torchvision's transforms can give, to 1e-5"

    ours_first = ours()[0]
    comparison = compare(
        "augmentation", f"crop, flip and normalise {count} images", {"ours": ours, "torchvision": theirs}, check,
        rounds=args.rounds or (2 if args.quick else 7),
        limit=args.seconds,
    )  # fmt: skip
    for contestant in comparison.times:
        comparison.figures[f"images per second, {contestant}"] = count / comparison.median(contestant)
    finish(comparison, args)


if __name__ == "__main__":
    main()
