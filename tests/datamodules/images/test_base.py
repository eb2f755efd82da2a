"""Orders, ranks, and resuming inside an epoch, under a real Trainer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.digits import DigitsDataModule
from datamodules.images.augmentation import Augmentation
from datamodules.images.base import ImageDataModule, ImageSet, channel_statistics, stratified_split, take
from datamodules.loader import evaluation_batches, training_batches

AUGMENTATION = Augmentation(crop_padding=2, flip="alternating", cutout=4, mixup_alpha=0.3)


class Numbers(ImageDataModule):
    """Images that hold their own number, so that a batch tells which examples it is made of."""

    def __init__(self, size: int = 44, batch_size: int = 10, augmentation: Augmentation = Augmentation()) -> None:  # noqa: B008
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=8,
            augmentation=augmentation,
            seed=5,
            split_seed=0,
            predict_path=None,
        )
        self.size = size
        self.class_names = ["even", "odd"]

    def load_training(self) -> tuple[ImageSet, ImageSet]:
        return self.load_test(), self.load_test()

    def load_test(self) -> ImageSet:
        numbers = torch.arange(self.size)
        return ImageSet(numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous(), numbers % 2)


def as_rank(module: ImageDataModule, rank: int, world: int) -> ImageDataModule:
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world)  # type: ignore[assignment]
    return module


def test_training_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(training_batches(100, 10, seed=seed, epoch=epoch, rank=0, world=1)).tolist()

    first = order(3, 4)
    torch.rand(3)
    assert order(3, 4) == first and sorted(first) == list(range(100)) and first != sorted(first)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("world", range(1, 6))
def test_ranks_share_an_epoch_without_overlap(world: int) -> None:
    ranks = [training_batches(103, 7, seed=0, epoch=2, rank=rank, world=world) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {103 // (7 * world)}
    assert all(len(batch) == 7 for batches in ranks for batch in batches)
    seen = torch.cat([batch for batches in ranks for batch in batches])
    assert len(seen.unique()) == len(seen) == 103 // (7 * world) * 7 * world
    # Together a step's batches are what one process with the whole batch would take.
    (alone,) = [torch.cat(training_batches(103, 7 * world, seed=0, epoch=2, rank=0, world=1))]
    together = torch.cat([torch.cat([ranks[rank][step] for rank in range(world)]) for step in range(len(ranks[0]))])
    assert torch.equal(alone, together)


def test_fewer_examples_than_a_batch_make_one_small_batch() -> None:
    ranks = [training_batches(11, 50, seed=0, epoch=0, rank=rank, world=2) for rank in range(2)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[5], [5]]
    assert len(torch.cat([*ranks[0], *ranks[1]]).unique()) == 10
    with pytest.raises(ValueError, match="fewer than the 12 processes"):
        training_batches(11, 50, seed=0, epoch=0, rank=0, world=12)


@pytest.mark.parametrize("size", [1, 3, 33, 44, 45, 48])
@pytest.mark.parametrize("world", range(1, 6))
def test_evaluation_sees_every_example_once_at_any_world_size(size: int, world: int) -> None:
    for rank in range(world):
        flat = [
            position for batch in evaluation_batches(size, 8, rank=rank, world=world) for position in batch.tolist()
        ]
        assert flat == list(range(rank, size, world))
    for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        modules = [as_rank(Numbers(size), rank, world) for rank in range(world)]
        if size < world and name != "predict_dataloader":  # a process without any would leave the others waiting
            for module in modules:
                with pytest.raises(ValueError, match=rf"set has {size} examples, fewer than the {world} processes"):
                    getattr(module, name)()
            continue
        loaders = [getattr(module, name)() for module in modules]
        seen = [number for loader in loaders for batch in loader for number in batch[0][:, 0, 0, 0].tolist()]
        assert sorted(seen) == list(range(size))
        assert len({len(loader) for loader in loaders[:size]}) == 1  # else DDP waits for the rank that has fewer
        for loader in loaders:
            assert len(loader) == len(list(loader))
            for batch in loader:
                assert torch.equal(batch[1], batch[0][:, 0, 0, 0].long() % 2) and len(batch[1]) <= 8


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("world", range(1, 5))
def test_ranks_have_equally_many_evaluation_batches(world: int, batch_size: int) -> None:
    for size in range(world, 15):
        ranks = [evaluation_batches(size, batch_size, rank=rank, world=world) for rank in range(world)]
        assert len({len(batches) for batches in ranks}) == 1, size
        for rank, batches in enumerate(ranks):
            assert torch.cat(batches).tolist() == list(range(rank, size, world)) and all(map(len, batches))
    assert [len(batch) for batch in evaluation_batches(7, 1, rank=0, world=1)] == [1] * 7


def test_a_process_may_be_without_anything_to_predict() -> None:
    module = as_rank(Numbers(1), 1, 2)
    assert not module.allow_zero_length_dataloader_with_multiple_devices  # Lightning's: else it refuses that process
    assert len(module.predict_dataloader()) == 0 and module.allow_zero_length_dataloader_with_multiple_devices


def test_predictions_carry_names_and_numbers() -> None:
    module = Numbers(20)
    batches = list(module.predict_dataloader())
    assert torch.cat([batch[2] for batch in batches]).tolist() == list(range(20))
    assert module.predict_names == [str(number) for number in range(20)]


class Recorder(LightningModule):
    """Keeps a copy of every training batch, named by (epoch, step)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.validated: list[int] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        assert (self.current_epoch, batch_idx) not in self.seen
        self.seen[self.current_epoch, batch_idx] = (batch[0].clone(), batch[1].clone())
        return self.weight.sum()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        assert batch[0].dtype == torch.uint8
        self.validated += batch[0][:, 0, 0, 0].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)


class SaveEachStep(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def fit(folder: Path, module: ImageDataModule, resume: Path | None = None, **changes: Any) -> Recorder:
    recorder = Recorder()
    options: dict[str, Any] = {"max_epochs": 3} | changes
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(recorder, module, ckpt_path=resume, weights_only=True if resume else None)
    return recorder


@pytest.mark.filterwarnings("error:.*mid-epoch.*", "error:.*not resumable.*", "ignore")
def test_a_run_resumed_after_any_step_sees_the_same_batches(tmp_path: Path) -> None:
    whole = fit(tmp_path, Numbers(augmentation=AUGMENTATION), callbacks=[SaveEachStep(tmp_path)])
    assert list(whole.seen) == [(epoch, step) for epoch in range(3) for step in range(4)]
    for step in range(1, 12):
        rest = fit(tmp_path, Numbers(augmentation=AUGMENTATION), tmp_path / f"{step}.ckpt")
        assert list(rest.seen) == list(whole.seen)[step:], step
        for key, (images, labels) in rest.seen.items():
            assert torch.equal(images, whole.seen[key][0]) and torch.equal(labels, whole.seen[key][1])


@pytest.mark.filterwarnings("ignore")
def test_training_batches_are_the_order_of_their_epoch(tmp_path: Path) -> None:
    seen = fit(tmp_path, Numbers(), max_epochs=2).seen
    for (epoch, step), (images, labels) in seen.items():
        expected = training_batches(44, 10, seed=5, epoch=epoch, rank=0, world=1)[step]
        assert images[:, 0, 0, 0].tolist() == expected.tolist() and labels.tolist() == (expected % 2).tolist()


@pytest.mark.filterwarnings("ignore")
def test_validation_is_whole_and_not_augmented(tmp_path: Path) -> None:
    assert fit(tmp_path, Numbers(augmentation=AUGMENTATION), max_epochs=2).validated == 2 * list(range(44))


@pytest.mark.filterwarnings("ignore")
def test_a_run_without_validation_images_skips_validation(tmp_path: Path) -> None:
    recorder = fit(tmp_path, DigitsDataModule(validation_size=0, batch_size=500), max_epochs=1)
    assert len(recorder.seen) == 2 and recorder.validated == []


@pytest.mark.filterwarnings("ignore")
def test_overfitting_repeats_the_same_batches(tmp_path: Path) -> None:
    seen = fit(tmp_path, Numbers(), max_epochs=2, overfit_batches=2).seen
    assert len(seen) == 4 and all(torch.equal(seen[0, step][0], seen[1, step][0]) for step in range(2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limit", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 16}])
def test_sizes_grow_with_the_epochs_planned(tmp_path: Path, limit: dict) -> None:
    module = Numbers(augmentation=Augmentation(progressive_sizes=[(0.5, 4), (0.75, 6)]))
    seen = fit(tmp_path, module, **limit).seen
    assert [seen[epoch, 0][0].shape[-1] for epoch in range(4)] == [4, 4, 6, 8]


def test_split_counts_are_proportional_and_exact() -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate([70, 20, 9, 1])])
    for size in (0, 1, 10, 37, 99):
        kept, apart = stratified_split(labels, size, seed=1)
        assert len(apart) == size and torch.equal(torch.cat([kept, apart]).sort().values, torch.arange(100))
        counts = torch.bincount(labels[apart], minlength=4)
        assert ((counts - size * torch.tensor([0.70, 0.20, 0.09, 0.01])).abs() < 1).all()


def test_channel_statistics_are_those_of_all_pixels() -> None:
    images = torch.randint(0, 200, (5000, 3, 4, 5), dtype=torch.uint8)
    images[:, 2] = 100
    mean, std = channel_statistics(images)
    scaled = images.double() / 255
    assert torch.allclose(torch.tensor(mean).double(), scaled.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(torch.tensor(std[:2]).double(), scaled[:, :2].std((0, 2, 3), correction=0), atol=1e-6)
    assert std[2] == 1 / 255


def test_take_is_indexing() -> None:
    images, index = torch.randint(0, 256, (9, 3, 4, 5), dtype=torch.uint8), torch.tensor([8, 0, 0, 3])
    assert torch.equal(take(images, index), images[index])
