"""Weights from files: torchvision's and our own, those that do not fit, and damaged or hostile ones."""

import logging
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
from utils.checkpoints import add_digests


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
    message = error_of({f"stem.{number}": value for number, value in enumerate(whole.values())})
    assert message.count(";") == 3
    assert "more" in message
    assert len(message) < 500


def wrapped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "network.",
        "model.module.",
        "module._orig_mod.",
        "learner.backbone._orig_mod.",
    ],
)
def test_prefixes_of_what_wrapped_the_network_are_dropped(prefix, tmp_path):
    source, net = small(), small()
    others = {"loss.weight": torch.ones(10), "n_averaged": torch.tensor(3)}
    torch.save({"state_dict": wrapped(source.state_dict(), prefix) | others, "epoch": 3}, tmp_path / "a.pt")
    load_network(net, tmp_path / "a.pt")
    assert_same(net.state_dict(), source.state_dict())


def test_a_wrapper_around_a_part_of_the_network_is_dropped(resnet18, tmp_path):
    """As `model.layer1 = DataParallel(model.layer1)`, or compiled in place of the whole."""
    part = {
        name.replace("layer1.", "layer1.module.").replace("layer2.", "layer2._orig_mod."): value
        for name, value in resnet18.items()
    }
    torch.save(part, tmp_path / "a.pt")
    net = ResNet(depth=18, num_classes=10, stem="imagenet")
    load_network(net, tmp_path / "a.pt")
    for name, value in resnet18.items():
        assert torch.equal(net.state_dict()[name], value), name


def test_two_networks_in_one_file_are_refused(tmp_path):
    state = small().state_dict()
    torch.save(wrapped(state, "student.") | wrapped(state, "teacher."), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"init_from .*a\.pt.* twice, as student\.\* and teacher\.\*"):
        load_network(small(), tmp_path / "a.pt")


@pytest.mark.parametrize(
    "keys", [("net",), ("model",), ("state_dict",), ("model_state_dict",), ("model_ema",), ("model", "state_dict")]
)
def test_the_state_dict_is_found_among_other_things(keys, tmp_path):
    source, net = small(), small()
    content: dict[str, Any] = source.state_dict()
    for key in reversed(keys):
        content = {"epoch": 3, "best": torch.tensor(0.9), "optimizer": {"state": {}, "param_groups": []}, key: content}
    torch.save(content, tmp_path / "a.pt")
    load_network(net, tmp_path / "a.pt")
    assert_same(net.state_dict(), source.state_dict())


def test_the_weights_go_before_their_average_and_two_averages_are_refused(tmp_path):
    source, average, net = small(), small(), small()
    torch.nn.init.normal_(average.get_parameter("classifier.1.bias"))
    both = {"model_ema": wrapped(average.state_dict(), "module."), "model": source.state_dict()}
    torch.save(both, tmp_path / "a.pt")
    load_network(net, tmp_path / "a.pt")
    assert_same(net.state_dict(), source.state_dict())
    torch.save({"ema_slow": source.state_dict(), "ema_fast": source.state_dict()}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt .*2 of them: ema_slow; ema_fast"):
        load_network(net, tmp_path / "b.pt")


def test_a_whole_model_and_a_pointer_of_git_lfs_are_named_as_what_they_are(tmp_path):
    torch.save(torchvision.models.mobilenet_v2(width_mult=0.1), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"whole\.pth .*whole pickled model .*MobileNetV2.*state_dict\(\)"):
        load_network(small(), tmp_path / "whole.pth")
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n")
        with pytest.raises(ValueError, match=rf"{name} is a pointer of git-lfs.*`git lfs pull`"):
            load_network(small(), tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_are_not_finite_are_refused_and_named(suffix, tmp_path):
    state = small().state_dict()
    state["classifier.1.bias"][2] = float("nan")
    path = tmp_path / f"a{suffix}"
    torch.save(state, path) if suffix == ".pt" else safetensors.torch.save_file(state, path)
    with pytest.raises(ValueError, match=rf"a{suffix} .*classifier\.1\.bias holds values"):
        load_network(small(), path)


def test_weights_of_a_checkpoint_that_were_altered_are_refused_and_named(tmp_path):
    state = wrapped(small().state_dict(), "architecture.")
    checkpoint = {"state_dict": state, "config": {}}
    add_digests(checkpoint)
    state["architecture.classifier.1.bias"][2] += 1
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt .*architecture\.classifier\.1\.bias of its weights was altered"):
        load_network(small(), tmp_path / "a.ckpt")


def test_how_many_tensors_were_loaded_and_which_are_new_is_said(tmp_path, caplog):
    torch.save(small(num_classes=7).state_dict(), tmp_path / "a.pt")
    with caplog.at_level(logging.INFO, "lightning.pytorch.utilities.rank_zero"):
        load_network(small(), tmp_path / "a.pt")
    total = len(small().state_dict())
    assert caplog.messages == [
        f"init_from {tmp_path / 'a.pt'}: {total - 2} of {total} tensors loaded; "
        "new: classifier.1.weight; classifier.1.bias"
    ]


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
    with pytest.raises(ValueError, match=rf"cut{suffix} cannot be read as weights \(it is damaged or truncated"):
        load_network(small(), path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, torch.zeros(3), {"state_dict": {"a": "b"}}])
def test_other_content_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"holds no (single )?state dict"):
        read_state_dict(tmp_path / "other.pt")
