"""ScaledMuon against torch's Muon, against ScaledAdamW where it is that, and the steps of matrices by hand."""

import copy

import pytest
import torch
from torch import nn

from lightning_modules.optim.muon import orthogonalize
from lightning_modules.optim.parameter_groups import parameter_groups
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.optim.scaled_muon import ScaledMuon


class Net(nn.Module):
    """Two matrices of one shape and one of another, beside an embedding, a table of positions and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.query = nn.Linear(6, 8, bias=False)
        self.key = nn.Linear(6, 8)
        self.positions = nn.Embedding(4, 2)
        self.norm = nn.LayerNorm(8)
        self.output = nn.Linear(8, 11, bias=False)


MATRICES = ("query.weight", "key.weight")


def pair(**options: float) -> tuple[Net, Net, ScaledMuon, ScaledAdamW]:
    torch.manual_seed(0)
    net = Net()
    other = copy.deepcopy(net)
    settings = {"lr": 0.02, "betas": (0.9, 0.98), **options}
    return (
        net,
        other,
        ScaledMuon(parameter_groups(net, output=net.output.weight), **settings),
        ScaledAdamW(parameter_groups(other, output=other.output.weight), **settings),
    )


def give_gradients(*nets: Net) -> None:
    for parameters in zip(*(net.parameters() for net in nets), strict=True):
        gradient = torch.randn_like(parameters[0])
        for parameter in parameters:
            parameter.grad = gradient.clone()


def test_all_but_matrices_is_trained_as_by_scaled_adamw():
    net, other, optimizer, reference = pair(weight_decay=0.1)
    for _ in range(3):
        give_gradients(net, other)
        optimizer.step()
        reference.step()
    for (name, parameter), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, theirs) == (name not in MATRICES), name


def test_steps_have_the_direction_of_torchs_muon_and_the_size_of_the_matrix():
    """torch's momentum is ours; its step is a multiple of ours, which depends on the shape alone."""
    net, *_ = pair()
    lr, momentum = 0.02, 0.9
    optimizer = ScaledMuon(parameter_groups(net, output=net.output.weight), lr=lr, momentum=momentum)
    theirs = [nn.Parameter(net.query.weight.detach().clone()), nn.Parameter(net.key.weight.detach().clone())]
    muon = torch.optim.Muon(theirs, lr=lr, momentum=momentum, nesterov=True, weight_decay=0.0, ns_steps=5)
    for _ in range(4):
        give_gradients(net)
        ours = [net.query.weight, net.key.weight]
        before = [matrix.detach().clone() for matrix in ours]
        for parameter, matrix in zip(theirs, ours, strict=True):
            parameter.data.copy_(matrix.detach())
            parameter.grad = matrix.grad.clone()
        optimizer.step()
        muon.step()
        for matrix, parameter, start in zip(ours, theirs, before, strict=True):
            step, their_step = matrix.detach() - start, parameter.detach() - start
            assert step.square().mean().sqrt() == pytest.approx(lr * start.square().mean().sqrt().item(), rel=1e-3)
            cosine = torch.cosine_similarity(step.flatten(), their_step.flatten(), dim=0)
            assert cosine > 0.999  # both orthogonalise in bfloat16


def test_decay_is_decoupled():
    net, *_ = pair()
    optimizer = ScaledMuon(parameter_groups(net), lr=0.02, weight_decay=0.5, momentum=0.0)
    start = net.query.weight.detach().clone()
    give_gradients(net)
    directions = orthogonalize(torch.stack([net.query.weight.grad, net.key.weight.grad]))  # as one, in bfloat16
    optimizer.step()
    kept = start * (1 - 0.02 * 0.5)
    direction = directions[0]
    step = direction * kept.square().mean().sqrt() / direction.square().mean().sqrt()
    torch.testing.assert_close(net.query.weight.detach(), kept - 0.02 * step, rtol=0, atol=1e-7)


def test_a_matrix_of_zeros_can_leave_zero():
    net, *_ = pair()
    nn.init.zeros_(net.query.weight)
    optimizer = ScaledMuon(parameter_groups(net), lr=0.5, min_scale=1e-2)
    give_gradients(net)
    optimizer.step()
    assert net.query.weight.square().mean().sqrt().item() == pytest.approx(0.5e-2, rel=1e-3)


def test_state_continues_after_saving_and_loading():
    net, *_ = pair()
    twin = copy.deepcopy(net)
    optimizer = ScaledMuon(parameter_groups(net, output=net.output.weight), lr=0.02)
    gradients = [[torch.randn_like(parameter) for parameter in net.parameters()] for _ in range(3)]

    def train(model: Net, by: ScaledMuon, steps: list[list[torch.Tensor]]) -> None:
        for each in steps:
            for parameter, gradient in zip(model.parameters(), each, strict=True):
                parameter.grad = gradient.clone()
            by.step()

    train(net, optimizer, gradients[:2])
    state = copy.deepcopy(optimizer.state_dict())
    twin.load_state_dict(net.state_dict())
    other = ScaledMuon(parameter_groups(twin, output=twin.output.weight), lr=0.5, momentum=0.1)
    other.load_state_dict(state)
    train(net, optimizer, gradients[2:])
    train(twin, other, gradients[2:])
    assert all(torch.equal(*both) for both in zip(net.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "named"), [({"momentum": 1.0}, "momentum"), ({"newton_schulz_steps": 0}, "newton_schulz_steps")]
)
def test_an_argument_out_of_range_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        ScaledMuon(parameter_groups(Net()), **options)
