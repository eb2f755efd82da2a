"""What FSDP cannot do is refused in one line, before training."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from callbacks.weight_averaging import EMA
from lightning_modules.fsdp import FullySharded, shard
from tests.lightning_modules.text_fakes import seq2seq


@pytest.fixture
def of_two() -> Iterator[None]:
    """The first of two processes, the other of which is not there."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    distributed.destroy_process_group()


def set_up(model: Any, *callbacks: Any) -> None:
    strategy = FullySharded()
    strategy.connect(model)
    strategy.setup(SimpleNamespace(callbacks=[*callbacks], state=SimpleNamespace(fn="fit")))  # type: ignore[arg-type]


def test_a_module_that_does_not_split_its_weights() -> None:
    with pytest.raises(ValueError, match=r"not those of Linear; pass --trainer\.strategy ddp"):
        set_up(nn.Linear(2, 2))


@pytest.mark.usefixtures("of_two")
def test_averaged_weights() -> None:
    model = seq2seq()
    net = model.architecture
    shard(net, net.encoder.blocks, init_device_mesh("cpu", (2,)), low_precision=False)
    with pytest.raises(ValueError, match=r"trainer\.callbacks has EMA, .* remove the callback"):
        set_up(model, EMA())


def test_a_compiled_network() -> None:
    model = seq2seq(compile_network=True)
    model._trainer = SimpleNamespace(strategy=FullySharded())  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"pass --model\.compile_network none"):
        model.configure_model()
