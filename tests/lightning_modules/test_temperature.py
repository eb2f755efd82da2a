"""The fitted temperature against the minimum that an optimizer finds, and its way through a checkpoint to `predict`."""

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.temperature import FEWEST, FittedTemperature


def some_logits(count: int = 2000, classes: int = 7, sharpness: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `sharpness` times those of the distribution that the labels are drawn from."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return sharpness * logits, labels


def minimum(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature by gradient descent, as Guo et al. do it."""
    temperature = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([temperature], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(logits.double() / temperature, labels)
        value.backward()
        return value

    optimizer.step(loss)
    return temperature.item()


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 2.7, 5.0])
def test_it_is_the_minimum_that_an_optimizer_finds(sharpness: float) -> None:
    logits, labels = some_logits(sharpness=sharpness)
    mine = FittedTemperature()
    for part in torch.arange(len(labels)).split(300):
        mine.update(logits[part], labels[part])
    found = mine.compute().item()
    assert found == pytest.approx(minimum(logits, labels), rel=0.01)
    assert found == pytest.approx(sharpness, rel=0.15)


def test_it_depends_neither_on_the_order_nor_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = some_logits(500)
    found = set()
    for seed in range(5):
        mine = FittedTemperature()
        monkeypatch.setattr("lightning_modules.temperature.AT_ONCE", 10_000 * (seed + 1))
        for part in torch.randperm(500, generator=torch.Generator().manual_seed(seed)).split(90 + seed):
            mine.update(logits[part], labels[part])
        found.add(mine.compute().item())
    assert len(found) == 1


def test_few_examples_and_those_without_a_mistake_leave_probabilities_as_they_are() -> None:
    logits, labels = some_logits(FEWEST - 1)
    mine = FittedTemperature()
    mine.update(logits, labels)
    assert mine.compute() == 1.0
    mine.reset()
    mine.update(10 * F.one_hot(torch.arange(400) % 7).float(), torch.arange(400) % 7)
    assert mine.compute() == 1.0
    mine.reset()
    mine.update(torch.full((200, 3), torch.nan), torch.zeros(200, dtype=torch.int64))
    assert mine.compute() == 1.0
