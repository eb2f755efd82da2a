"""Weights from files: torchvision's and our own, those that do not fit, and damaged or hostile ones."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from architectures.mobilenet_v2 import MobileNetV2
from architectures.resnet import ResNet
from lightning_modules.pretrained import load_network, read_state_dict
from tests.close import assert_close


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10)
    net(torch.randn(8, 3, 64, 64))  # else all running means are 0
    return net.state_dict()


def small(num_classes: int = 10) -> MobileNetV2:
    return MobileNetV2(num_classes=num_classes, width_multiplier=0.1)


def assert_same(mine: dict[str, Tensor], theirs: dict[str, Tensor], leave_out: tuple[str, ...] = ()) -> None:
    assert list(mine) == list(theirs)
    for name in mine:
        if not name.startswith(leave_out or ("\0",)):
            assert torch.equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_reads_state_dicts(resnet18, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(resnet18, path)
    else:
        torch.save(resnet18, path)
    read = read_state_dict(str(path))
    assert_same(dict(sorted(read.items())), dict(sorted(resnet18.items())))


def test_torchvisions_resnet18_gives_its_logits(resnet18, tmp_path):
    torch.save(resnet18, tmp_path / "resnet18.pth")
    net = ResNet(depth=18, num_classes=10, stem="imagenet").eval()
    load_network(net, tmp_path / "resnet18.pth")
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    theirs.load_state_dict(resnet18)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_close(net(images), theirs(images))


def test_old_files_have_parameters_and_no_batch_counters(resnet18, tmp_path):
    """Batch norms have counted their batches since torch 0.4.1; files from before it also hold nn.Parameters."""
    published = OrderedDict(
        (name, torch.nn.Parameter(value) if value.is_floating_point() and "running" not in name else value)
        for name, value in resnet18.items()
        if not name.endswith("num_batches_tracked")
    )
    torch.save(published, tmp_path / "resnet18.pth")
    net = ResNet(depth=18, num_classes=10, stem="imagenet")
    load_network(net, tmp_path / "resnet18.pth")
    for name, value in published.items():
        assert torch.equal(net.state_dict()[name], value), name


def test_a_head_for_another_number_of_classes_starts_from_scratch(tmp_path):
    theirs = torchvision.models.mobilenet_v2(num_classes=1000, width_mult=0.1).state_dict()
    safetensors.torch.save_file(theirs, tmp_path / "v2.safetensors")
    net = MobileNetV2(num_classes=3, width_multiplier=0.1, stem="imagenet")
    fresh = {name: value.clone() for name, value in net.state_dict().items()}
    load_network(net, tmp_path / "v2.safetensors")
    assert_same(net.state_dict(), theirs, leave_out=("classifier.1.",))
    for name in ("classifier.1.weight", "classifier.1.bias"):
        assert torch.equal(net.state_dict()[name], fresh[name])


def test_a_head_for_the_same_number_of_classes_is_copied(tmp_path):
    source, net = small(), small()
    torch.nn.init.normal_(source.get_parameter("classifier.1.bias"))
    torch.save(source.state_dict(), tmp_path / "a.pt")
    load_network(net, tmp_path / "a.pt")
    assert_same(net.state_dict(), source.state_dict())


def test_a_checkpoint_of_this_program_gives_its_network(tmp_path):
    source, net = small(), small()
    state = {f"architecture.{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": {"mean": torch.zeros(3), **state}, "epoch": 3, "config": {"a": 1}}, tmp_path / "a.ckpt")
    load_network(net, tmp_path / "a.ckpt")
    assert_same(net.state_dict(), source.state_dict())


def test_whatever_does_not_fit_is_named_and_nothing_is_copied(tmp_path):
    def error_of(state: dict[str, Tensor]) -> str:
        torch.save(state, tmp_path / "odd.pt")
        net = small()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with pytest.raises(ValueError, match=r"odd\.pt does not fit MobileNetV2") as caught:
            load_network(net, tmp_path / "odd.pt")
        assert_same(net.state_dict(), before)
        return str(caught.value)

    whole = small().state_dict()
    weight = next(name for name in whole if name.endswith("weight"))
    assert f"missing {weight}" in error_of({name: value for name, value in whole.items() if name != weight})
    assert "unexpected fc.weight" in error_of({**whole, "fc.weight": torch.zeros(2)})
    assert f"{weight} is (2, 3), not {tuple(whole[weight].shape)}" in error_of({**whole, weight: torch.zeros(2, 3)})
    message = error_of({f"net.{name}": value for name, value in whole.items()})
    assert message.count(";") == 3
    assert "more" in message
    assert len(message) < 500


class Hostile:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    target = tmp_path / "it-ran"
    torch.save({"fc.weight": torch.zeros(1), "x": Hostile(target)}, tmp_path / "new.pt")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"x": Hostile(target)}))
    for name in ("new.pt", "old.pth"):
        with pytest.raises(ValueError, match=name):
            load_network(small(), tmp_path / name)
        assert not target.exists()
    pickle.loads((tmp_path / "old.pth").read_bytes())  # the pickle does run code
    assert target.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_files_are_named(suffix, share, tmp_path):
    path = tmp_path / f"cut{suffix}"
    state = small().state_dict()
    torch.save(state, path) if suffix == ".pt" else safetensors.torch.save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"cut{suffix} cannot be read as weights .*; is the file complete\?"):
        load_network(small(), path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, torch.zeros(3), {"state_dict": {"a": "b"}}])
def test_other_content_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds no state dict"):
        read_state_dict(tmp_path / "other.pt")
