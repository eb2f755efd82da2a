"""Sets of images: stratified splits by count, statistics against torch on all pixels, selection against indexing."""

from __future__ import annotations

import pytest
import torch

from datamodules.images.image_set import ImageSet, channel_statistics, near, stratified_split, take


def test_a_split_has_each_class_in_proportion_and_the_exact_size() -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate([70, 20, 9, 1])])
    for size in (0, 1, 10, 37, 99, 100):
        kept, held_out = stratified_split(labels, size, seed=1, purpose="test_split")
        assert len(held_out) == size
        assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(100))
        assert torch.equal(kept, kept.sort().values)
        assert torch.equal(held_out, held_out.sort().values)
        counts = torch.bincount(labels[held_out], minlength=4)
        assert ((counts - size * torch.tensor([0.70, 0.20, 0.09, 0.01])).abs() < 1).all()


def test_a_split_depends_only_on_seed_and_purpose() -> None:
    labels = torch.arange(100) % 4

    def held_out(seed: int, purpose: str) -> list[int]:
        return stratified_split(labels, 20, seed=seed, purpose=purpose)[1].tolist()  # type: ignore[arg-type]

    first = held_out(1, "test_split")
    torch.rand(3)
    assert held_out(1, "test_split") == first
    assert held_out(2, "test_split") != first
    assert held_out(1, "validation_split") != first


def test_by_names_a_split_stays_as_it_is_when_others_come_and_go() -> None:
    names = [f"{number}.jpg" for number in range(400)]
    labels = torch.arange(400) % 4

    def held_out(which: list[int], labels: torch.Tensor) -> set[str]:
        part = [names[place] for place in which]
        split = {"seed": 0, "purpose": "test_split", "names": part}
        _, positions = stratified_split(labels[which], len(which) // 10, **split)  # type: ignore[arg-type]
        return {part[place] for place in positions.tolist()}

    all_of_them = list(range(400))
    first = held_out(all_of_them, labels)
    assert len(first) == 40
    relabelled = labels.clone()
    relabelled[7] = (labels[7] + 1) % 4
    assert len(first ^ held_out(all_of_them, relabelled)) <= 4
    assert len(first ^ held_out([place for place in all_of_them if place != 200], labels)) <= 4
    counts = torch.bincount(labels[[names.index(name) for name in first]])
    assert counts.tolist() == [10, 10, 10, 10]


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


@pytest.mark.parametrize("named", [True, False])
def test_images_labels_and_names_stay_together(named: bool) -> None:
    numbers = torch.arange(40)
    images = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    whole = ImageSet(images, numbers % 4, [str(number) for number in range(40)] if named else None)
    kept, held_out = whole.split(8, seed=0, purpose="test_split")
    assert held_out is not None
    assert torch.bincount(held_out.labels).tolist() == [2, 2, 2, 2]
    found = []
    for part in (kept, held_out):
        own = part.images[:, 0, 0, 0].tolist()
        assert part.labels.tolist() == [number % 4 for number in own]
        assert part.names == ([str(number) for number in own] if named else None)
        found += own
    assert sorted(found) == list(range(40))


def test_a_split_of_size_0_holds_nothing_out() -> None:
    whole = ImageSet(torch.zeros(3, 3, 2, 2, dtype=torch.uint8), torch.arange(3))
    assert whole.split(0, seed=0, purpose="validation_split") == (whole, None)


@pytest.mark.parametrize(("free", "device"), [(4 * 5 * 3 * 8 * 8, "meta"), (4 * 5 * 3 * 8 * 8 - 1, "cpu"), (0, "cpu")])
def test_images_are_on_the_device_if_a_quarter_of_its_memory_holds_them(
    free: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.images.image_set.free_bytes", lambda device: free)
    examples = ImageSet(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64), list("abcde"))
    there = near(examples, torch.device("meta"))
    assert there.images.device.type == there.labels.device.type == device
    assert there.names == examples.names
