"""Muon against the published iteration in double precision, and against SGD for what is not a filter."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.optim.muon import Muon, orthogonalize
from lightning_modules.optim.parameter_groups import parameter_groups
from tests.operators import CountOperators


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Linear(6, 5)
        self.head = nn.Linear(5, 4)


def random_gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


# --- orthogonalize -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (1, 9), (9, 1)])
def test_orthogonalize_keeps_singular_vectors_and_evens_out_the_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    u, values, vt = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.linspace(1, 0.1, len(values)) if len(values) > 1 else values  # no singular value near zero
    result = orthogonalize(u @ values.diag() @ vt)
    assert result.shape == shape
    assert result.dtype == matrix.dtype
    found = torch.linalg.svdvals(result)
    assert found.min() > 0.6
    assert found.max() < 1.3
    # in the basis of U and V it is diagonal, up to the roundings of bfloat16
    inside = u.T @ result @ vt.T
    assert (inside - inside.diagonal().diag()).abs().max() < 0.05
    assert inside.diagonal().min() > 0.6
    cosine = (result * (u @ vt)).sum() / (result.norm() * (u @ vt).norm())
    assert cosine > 0.97


def test_orthogonalize_ignores_scale_and_survives_zero():
    matrix = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalize(matrix), orthogonalize(1024 * matrix), rtol=0, atol=0.02)
    assert torch.equal(orthogonalize(torch.zeros(4, 5)), torch.zeros(4, 5))


def test_matrices_of_one_shape_are_orthogonalised_together_as_each_alone():
    matrices = torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([orthogonalize(each) for each in matrices.flatten(0, 1)]).view_as(matrices)
    torch.testing.assert_close(orthogonalize(matrices), alone, rtol=0, atol=0.02)  # products in bfloat16, of 8 bits
    torch.testing.assert_close(orthogonalize(matrices.mT), alone.mT, rtol=0, atol=0.02)


# --- Muon ----------------------------------------------------------------------------------------------------------


def plain_orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """The published iteration (Jordan et al. 2024), written out in double precision."""
    x = matrix.double() / matrix.double().norm()
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x - 4.7750 * a @ x + 2.0315 * a @ a @ x
    return x


def test_muon_trains_head_and_vectors_like_sgd():
    mine, theirs = Net(), Net()
    theirs.load_state_dict(mine.state_dict())
    groups = parameter_groups(theirs, "head")
    rates = {"head": 0.3, "head_vectors": 0.02, "vectors": 0.02}
    sgd = torch.optim.SGD(
        [{**group, "lr": rates[group["name"]]} for group in groups if group["name"] != "weights"],
        momentum=0.8,
        nesterov=True,
        weight_decay=0.01,
    )
    muon = Muon(
        parameter_groups(mine, "head"), head_lr=0.3, vector_lr=0.02, sgd_momentum=0.8, weight_decay=0.01, lr=0.1
    )
    for step in range(4):
        random_gradients(mine, step)
        random_gradients(theirs, step)
        muon.step()
        sgd.step()
        for name, parameter in theirs.named_parameters():
            if name not in ("conv.weight", "inner.weight"):
                torch.testing.assert_close(mine.get_parameter(name), parameter, rtol=1e-6, atol=1e-7)


def test_muon_turns_filters_as_published():
    net = Net()
    muon = Muon(parameter_groups(net, "head"), lr=0.24, momentum=0.6, newton_schulz_steps=3, weight_decay=0.5)
    expected = net.conv.weight.detach().double()
    buffer = torch.zeros_like(expected)
    for step in range(3):
        random_gradients(net, step)
        assert net.conv.weight.grad is not None
        gradient = net.conv.weight.grad.double()
        buffer = 0.6 * buffer + gradient
        update = plain_orthogonalize((gradient + 0.6 * buffer).reshape(6, 27), 3).reshape(6, 3, 3, 3)
        expected = expected * math.sqrt(6) / expected.norm() - 0.24 * update  # no decay: the norm is set
        muon.step()
        # the iteration runs in bfloat16, of 8 bits
        torch.testing.assert_close(net.conv.weight.detach().double(), expected, rtol=0, atol=0.01)


def test_filters_that_begin_as_zeros_are_trained():
    """The last convolutions of a residual network may begin as zeros, and a transformer's class token does."""
    net = Net()
    torch.nn.init.zeros_(net.conv.weight)
    muon = Muon(parameter_groups(net, "head"), lr=0.24)
    random_gradients(net, 0)
    muon.step()
    assert net.conv.weight.grad is not None
    update = plain_orthogonalize((1.6 * net.conv.weight.grad.double()).reshape(6, 27), 3).reshape(6, 3, 3, 3)
    torch.testing.assert_close(net.conv.weight.detach().double(), -0.24 * update, rtol=0, atol=0.01)


def loop(parameter: Tensor, gradient: Tensor, buffer: Tensor) -> None:
    """Muon for one filter after another, as airbench94_muon has it, with the iteration in the filter's precision."""
    buffer.mul_(0.85).add_(gradient)
    x = (gradient + 0.85 * buffer).flatten(1).float()
    x = x / (x.norm() + 1e-7)
    x = x.T if (tall := x.shape[0] > x.shape[1]) else x
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
    parameter.add_((x.T if tall else x).view(parameter.shape).to(parameter.dtype), alpha=-0.05)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.bfloat16, 2e-2)])
def test_filters_in_batches_are_trained_as_one_after_another(layout, dtype, tolerance):
    """Of one shape as matrices: [6, 18] thrice, [18, 2] twice; of another: [6, 12]. Tolerance: of lr times 1."""
    torch.manual_seed(0)
    shapes = [(6, 2, 3, 3), (18, 2, 1, 1), (6, 3, 2, 2), (6, 2, 3, 3), (6, 18), (18, 2)]
    filters = [torch.randn(shape).to(dtype) for shape in shapes]
    filters = [each.to(memory_format=layout) if each.ndim == 4 else each for each in filters]
    mine = [nn.Parameter(each.clone(memory_format=torch.preserve_format)) for each in filters]
    theirs, buffers = [each.clone() for each in filters], [torch.zeros_like(each) for each in filters]
    muon = Muon([{"name": "weights", "params": mine}], lr=0.05, momentum=0.85)
    for _ in range(3):
        for parameter, one, buffer in zip(mine, theirs, buffers, strict=True):
            parameter.grad = torch.randn_like(parameter)
            loop(one, parameter.grad, buffer)
        muon.step()
    for parameter, one, buffer in zip(mine, theirs, buffers, strict=True):
        torch.testing.assert_close(parameter.detach(), one, rtol=0, atol=tolerance)
        torch.testing.assert_close(muon.state[parameter]["momentum_buffer"], buffer, rtol=0, atol=2 * tolerance)


def test_muon_takes_few_operators():
    """Six filters of one shape take as many operators as one; each by itself took about 28."""
    counts = []
    for number in (1, 6):
        filters = [nn.Parameter(torch.randn(4, 3, 2, 2)) for _ in range(number)]
        muon = Muon([{"name": "weights", "params": filters}])
        for each in filters:
            each.grad = torch.randn_like(each)
        muon.step()  # it also makes the momentum
        with CountOperators() as counted:
            muon.step()
        counts.append(counted.number)
    assert counts[0] == counts[1] < 40


def test_muon_resumes_from_its_state():
    whole = Net()
    optimizer = Muon(parameter_groups(whole, "head"), weight_decay=0.01)
    for step in range(2):
        random_gradients(whole, step)
        optimizer.step()
    resumed = Net()
    resumed.load_state_dict(whole.state_dict())
    second = Muon(parameter_groups(resumed, "head"), lr=9.0, weight_decay=0.5)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # load_state_dict shares tensors
    for step in range(2, 4):
        for net, one in ((whole, optimizer), (resumed, second)):
            random_gradients(net, step)
            one.step()
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"lr": -0.1}, "^lr"),
        ({"head_lr": -0.1}, "^head_lr"),
        ({"vector_lr": -1}, "^vector_lr"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"newton_schulz_steps": 0}, "newton_schulz_steps"),
        ({"momentum": 1.0}, "^momentum"),
        ({"momentum": -0.1}, "^momentum"),
        ({"sgd_momentum": 1.5}, "sgd_momentum"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        Muon(parameter_groups(Net(), "head"), **arguments)


def test_a_rate_of_zero_changes_nothing():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    optimizer = Muon(parameter_groups(net, "head"), lr=0.0, head_lr=0.0, vector_lr=0.0)
    random_gradients(net, 0)
    optimizer.step()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
