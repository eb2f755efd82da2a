import torch
from lightning.pytorch import LightningModule
from torch import nn

from callbacks.model_size import multiply_adds, parameters_by_part


class Holder(LightningModule):
    """A classifier of images, as far as its size goes."""

    class_names = None

    def __init__(self, architecture: nn.Module, input_size: int | None = 8) -> None:
        super().__init__()
        self.architecture, self.input_size = architecture, input_size


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),  # 8x8 outputs of 27 products, 4 channels
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),  # 6x6 outputs of 9 products, 8 channels
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 10),
    )


def test_multiply_adds_by_hand_and_nothing_disturbed():
    module = Holder(small_net()).train()
    module.architecture[0].eval()  # a part someone froze
    state = {name: value.clone() for name, value in module.state_dict().items()}
    random_state = torch.get_rng_state()
    assert multiply_adds(module) == 8 * 8 * 27 * 4 + 6 * 6 * 9 * 8 + 288 * 10
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module.architecture] == [False, True, True, True, True, True]


def test_a_random_net_leaves_the_random_state():
    class Noisy(nn.Linear):
        def forward(self, images):
            return super().forward(torch.rand_like(images).flatten(1))

    module = Holder(Noisy(192, 5))
    random_state = torch.get_rng_state()
    assert multiply_adds(module) == 192 * 5
    assert torch.equal(torch.get_rng_state(), random_state)


def test_what_cannot_be_counted_is_none():
    class NoImages(LightningModule):
        pass

    assert multiply_adds(NoImages()) is None
    assert multiply_adds(Holder(nn.Linear(7, 7))) is None


def test_parameters_by_hand():
    net = small_net()
    net[0].weight.requires_grad = False
    assert parameters_by_part(net) == {"0": (112, 4), "1": (8, 8), "3": (72, 72), "5": (2890, 2890)}
    tied = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    tied["b"].weight = tied["a"].weight
    assert parameters_by_part(tied) == {"a": (9, 9)}
