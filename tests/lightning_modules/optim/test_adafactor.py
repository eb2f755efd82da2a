"""Adafactor against torch's own, and without a wait."""

import copy

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.optim import adafactor
from lightning_modules.optim.adafactor import Adafactor

SHAPES = ((5, 3), (7,), (2, 3, 4), (1,), (4, 4))


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    made[3].data.zero_()
    return made


def give_gradients(lists: list[list[nn.Parameter]], step: int) -> None:
    """The first parameter gets none in the first step, so that the steps of a group are not all equal."""
    generator = torch.Generator().manual_seed(step + 1)
    for index, alike in enumerate(zip(*lists, strict=True)):
        gradient = torch.randn(SHAPES[index], generator=generator) * 10.0**step
        for parameter in alike:
            parameter.grad = None if index == step == 0 else gradient.clone()


@pytest.mark.parametrize("at_once", [1, 20, adafactor.AT_ONCE])  # one parameter at a time, some and all
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lr": 0.5, "weight_decay": 0.1},
        {"lr": 2.0, "beta2_decay": -0.5, "eps": (1e-6, 1e-2), "d": 2.0},
    ],
)
def test_it_is_torchs(options, at_once, monkeypatch):
    monkeypatch.setattr(adafactor, "AT_ONCE", at_once)
    mine, theirs = parameters(), parameters()
    optimizers = Adafactor(mine, **options), torch.optim.Adafactor(theirs, **options)
    for step in range(6):
        give_gradients([mine, theirs], step)
        for optimizer in optimizers:
            optimizer.step()
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_norm_is_read():
    """On the meta device there is nothing to read: an optimizer that waits for a norm fails."""
    alike = [nn.Parameter(torch.empty(8, 4, device="meta")) for _ in range(50)]
    optimizer = Adafactor(alike)
    for parameter in alike:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    theirs = torch.optim.Adafactor(alike)
    with pytest.raises(RuntimeError, match="meta"):
        theirs.step()


def test_a_loaded_state_continues_alike():
    first = parameters()
    optimizer = Adafactor(first, lr=0.1)
    for step in range(2):
        give_gradients([first], step)
        optimizer.step()
    second = [nn.Parameter(each.detach().clone()) for each in first]
    loaded = Adafactor(second, lr=0.1)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(2, 4):
        give_gradients([first, second], step)
        optimizer.step()
        loaded.step()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_matrix_keeps_a_row_and_a_column():
    matrix = nn.Parameter(torch.randn(30, 20))
    optimizer = Adafactor([matrix])
    matrix.grad = torch.randn(30, 20)
    optimizer.step()
    kept = [value for value in optimizer.state[matrix].values() if isinstance(value, Tensor)]
    assert sum(value.numel() for value in kept) == 30 + 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"lr": -1.0}, "^lr"),
        ({"beta2_decay": 0.1}, "beta2_decay"),
        ({"eps": (-1e-3, 1e-3)}, "eps"),
        ({"d": 0.5}, "^d "),
        ({"weight_decay": -0.1}, "weight_decay"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        Adafactor([nn.Parameter(torch.ones(1))], **arguments)
