"""The estimates in the configs of large T5s, against what the strategy gives to each of several processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from architectures.t5.config import T5Config
from architectures.t5.model import T5
from lightning_modules.fsdp import shard
from scripts.t5_memory import GPUS, estimate, main
from utils.sharded import local_part

CONFIGS = Path(__file__).parents[2] / "configs" / "t5"
SIZES = {"large": "t5-large", "3b": "t5-3b"}


@pytest.fixture(params=[2, 8])
def processes(request: pytest.FixtureRequest) -> Iterator[int]:
    """The first of several processes, the others of which are not there."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=request.param)
    yield request.param
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", SIZES)
def test_each_process_gets_the_part_that_is_estimated(name: str, processes: int) -> None:
    config = T5Config.preset(SIZES[name])
    with torch.device("meta"):
        network = T5(config)
    mesh = init_device_mesh("cpu", (processes,))
    shard(network, [*network.encoder.blocks, *network.decoder.blocks], mesh, low_precision=True)

    part = sum(local_part(parameter).numel() * 4 for parameter in network.parameters())

    memory = estimate(config, processes, tokens=256, length=128)
    assert part == pytest.approx(memory.weights, rel=1e-3)  # rows do not split evenly
    assert (memory.gradients, memory.optimizer) == (memory.weights, 2 * memory.weights)


@pytest.mark.parametrize("name", SIZES)
def test_a_config_tells_the_memory_that_the_script_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(CONFIGS / f"{name}.yaml")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(GPUS) + 1
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    for line in lines:
        assert f"\n#   {line}\n" in text


@pytest.mark.parametrize("name", SIZES)
def test_a_config_is_of_the_published_size(name: str) -> None:
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    below = yaml.safe_load((CONFIGS / content["base"]).read_text(encoding="utf-8"))
    fields = [each["model"]["init_args"]["architecture"]["init_args"]["config"] for each in (below, content)]
    assert T5Config(**fields[0] | fields[1]) == T5Config.preset(SIZES[name])


def test_activations_are_counted_by_their_number_and_not_by_that_of_the_gpus() -> None:
    config = T5Config.preset("t5-small")
    one, two, more = (estimate(config, *each) for each in ((1, 2**14, 128), (2, 2**14, 128), (1, 2**15, 128)))
    assert one.activations == two.activations < more.activations
    assert one.whole == two.whole == more.whole
    assert one.total > two.total
