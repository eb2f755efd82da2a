"""The base of the image datamodules: its loaders at any world size, and resuming inside an epoch, under a Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from datamodules.digits import DigitsDataModule
from datamodules.images.augmentation import Augmentation
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet
from datamodules.images.order import training_batches
from tests.datamodules.trainers import SaveEachBatch, fake_trainer, trainer_in
from utils.batches import ImageBatch

AUGMENTATION = Augmentation(crop_padding=2, flip="alternating", cutout=4, mixup_alpha=0.3)


class Numbers(ImageDataModule):
    """Images of one colour, their number, so that a batch tells which examples it consists of."""

    def __init__(self, size: int = 44, batch_size: int = 10, augmentation: Augmentation = Augmentation()) -> None:  # noqa: B008
        super().__init__(batch_size=batch_size, eval_batch_size=8, augmentation=augmentation, seed=5)
        self.size = size
        self.class_names = ["even", "odd"]

    def load_training(self) -> tuple[ImageSet, ImageSet]:
        return self.load_test(), self.load_test()

    def load_test(self) -> ImageSet:
        numbers = torch.arange(self.size)
        return ImageSet(numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous(), numbers % 2)


def as_rank(module: ImageDataModule, rank: int, world_size: int) -> ImageDataModule:
    module.trainer = fake_trainer(rank, world_size)
    return module


@pytest.mark.parametrize("size", [1, 3, 33, 44, 45, 48])
@pytest.mark.parametrize("world_size", range(1, 6))
@pytest.mark.parametrize("name", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_7929_evaluation_has_every_example_once_at_any_world_size(size: int, world_size: int, name: str) -> None:
    modules = [as_rank(Numbers(size), rank, world_size) for rank in range(world_size)]
    loaders = [getattr(module, name)() for module in modules]
    seen = [number for loader in loaders for batch in loader for number in batch.images[:, 0, 0, 0].tolist()]
    assert sorted(seen) == list(range(size))
    assert len({len(loader) for loader in loaders}) == 1  # otherwise processes wait for the one with fewer
    together: set[tuple[int, ...]] = set()
    for loader in loaders:
        assert len(loader) == len(list(loader))
        for batch in loader:
            assert torch.equal(batch.labels, batch.images[:, 0, 0, 0].long() % 2)
            together.add(tuple(batch.images[:, 0, 0, 0].tolist()))
    # Whatever the world size: figures depend on which examples share a batch
    assert together - {()} == {tuple(part.tolist()) for part in torch.arange(size).split(8)}


@pytest.mark.parametrize(("name", "limit"), [("val_dataloader", "limit_val"), ("test_dataloader", "limit_test")])
def test_a_limited_evaluation_begins_with_images_from_everywhere(name: str, limit: str) -> None:
    module = Numbers(1000)  # as if sorted by class
    changes: dict[str, Any] = {f"{limit}_batches": 0.1}
    module.trainer = fake_trainer(**changes)
    batches = list(getattr(module, name)())
    numbers = torch.cat([batch.images[:, 0, 0, 0] for batch in batches])
    assert torch.equal(numbers.sort().values, (torch.arange(1000) % 256).to(torch.uint8).sort().values)
    assert not torch.equal(numbers[:8].sort().values, torch.arange(8, dtype=torch.uint8))
    assert all(torch.equal(batch.labels, batch.images[:, 0, 0, 0].long() % 2) for batch in batches)


def test_predictions_have_positions_and_names() -> None:
    module = Numbers(20)
    batches = list(module.predict_dataloader())
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(20))
    assert module.predict_names == [str(number) for number in range(20)]


class Recorder(LightningModule):
    """Keeps a copy of every training batch, by (epoch, step)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.validated: list[int] = []

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        assert (self.current_epoch, batch_idx) not in self.seen
        self.seen[self.current_epoch, batch_idx] = (batch.images.clone(), batch.labels.clone())
        return self.weight.sum()

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        assert batch.images.dtype == torch.uint8
        self.validated += batch.images[:, 0, 0, 0].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)


def fit(folder: Path, module: ImageDataModule, resume: Path | None = None, **changes: Any) -> Recorder:
    recorder = Recorder()
    options: dict[str, Any] = {"max_epochs": 3} | changes
    trainer_in(folder, **options).fit(recorder, module, ckpt_path=resume, weights_only=True if resume else None)
    return recorder


@pytest.mark.filterwarnings("error:.*mid-epoch.*", "error:.*not resumable.*", "ignore")
def test_a_run_resumed_after_any_step_has_the_same_batches(tmp_path: Path) -> None:
    saved = SaveEachBatch(tmp_path)
    whole = fit(tmp_path, Numbers(augmentation=AUGMENTATION), callbacks=[saved])
    steps = list(whole.seen)
    assert steps == [(epoch, step) for epoch in range(3) for step in range(4)]
    for done, position in enumerate(steps[:-1], start=1):
        rest = fit(tmp_path, Numbers(augmentation=AUGMENTATION), saved.path(*position))
        assert list(rest.seen) == steps[done:], position
        for key, (images, labels) in rest.seen.items():
            assert torch.equal(images, whole.seen[key][0])
            assert torch.equal(labels, whole.seen[key][1])


def test_augmentation_depends_on_the_position_of_a_batch_and_the_rank() -> None:
    module = as_rank(Numbers(augmentation=Augmentation(crop_padding=2, crop_mode="zero")), 0, 1)
    batch = next(iter(module.train_dataloader()))
    first = module.augment(batch).images
    torch.rand(3)
    assert torch.equal(module.augment(batch).images, first)
    assert not torch.equal(module.augment(batch._replace(step=1)).images, first)
    assert not torch.equal(module.augment(batch._replace(epoch=1)).images, first)
    assert not torch.equal(as_rank(module, 1, 2).augment(batch).images, first)


@pytest.mark.filterwarnings("ignore")
def test_training_batches_are_those_of_the_order(tmp_path: Path) -> None:
    seen = fit(tmp_path, Numbers(), max_epochs=2).seen
    for (epoch, step), (images, labels) in seen.items():
        expected = training_batches(44, 10, seed=5, epoch=epoch, rank=0, world_size=1)[step]
        assert images[:, 0, 0, 0].tolist() == expected.tolist()
        assert labels.tolist() == (expected % 2).tolist()


@pytest.mark.filterwarnings("ignore")
def test_validation_is_complete_and_not_augmented(tmp_path: Path) -> None:
    assert fit(tmp_path, Numbers(augmentation=AUGMENTATION), max_epochs=2).validated == 2 * list(range(44))


@pytest.mark.filterwarnings("ignore")
def test_a_run_without_validation_images_skips_validation(tmp_path: Path) -> None:
    recorder = fit(tmp_path, DigitsDataModule(validation_size=0, batch_size=500), max_epochs=1)
    assert len(recorder.seen) == 2
    assert recorder.validated == []


@pytest.mark.filterwarnings("ignore")
def test_overfitting_repeats_the_same_batches(tmp_path: Path) -> None:
    seen = fit(tmp_path, Numbers(), max_epochs=2, overfit_batches=2).seen
    assert len(seen) == 4
    assert all(torch.equal(seen[0, step][0], seen[1, step][0]) for step in range(2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limit", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 16}])
def test_image_sizes_grow_with_the_planned_epochs(tmp_path: Path, limit: dict[str, Any]) -> None:
    module = Numbers(augmentation=Augmentation(progressive_sizes=[(0.5, 4), (0.75, 6)]))
    seen = fit(tmp_path, module, **limit).seen
    assert [seen[epoch, 0][0].shape[-1] for epoch in range(4)] == [4, 4, 6, 8]


@pytest.mark.filterwarnings("ignore")
def test_image_sizes_cannot_grow_in_a_run_without_an_end(tmp_path: Path) -> None:
    module = Numbers(augmentation=Augmentation(progressive_sizes=[(0.5, 4)]))
    with pytest.raises(ValueError, match=r"data\.augmentation\.progressive_sizes .* set trainer\.max_epochs"):
        fit(tmp_path, module, max_epochs=-1, max_time={"seconds": 5})


def test_image_sizes_do_not_grow_beyond_that_of_the_images() -> None:
    module = Numbers(augmentation=Augmentation(progressive_sizes=[(0.5, 64)]))
    module.input_size = 8
    with pytest.raises(ValueError, match=r"progressive_sizes must be at most the size of the images, 8, got 64"):
        module.setup("fit")


def test_labels_cannot_be_blended_without_knowing_their_number() -> None:
    module = Numbers(augmentation=AUGMENTATION)
    module.class_names = None
    with pytest.raises(ValueError, match=r"blends labels .*, but Numbers has no class_names"):
        module.setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size must be an integer of at least 1, got 0"),
        ({"eval_batch_size": 0}, "data.eval_batch_size must be an integer of at least 1, got 0"),
        ({"seed": -1}, "data.seed must be an integer of at least 0, got -1"),
        ({"split_seed": -1}, "data.split_seed must be an integer of at least 0, got -1"),
    ],
)
def test_invalid_numbers_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DigitsDataModule(**options)
