"""Networks of torchvision and timm by name: the library's own logits, names, errors, and checkpoints that open."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from callbacks.freeze_backbone import FreezeBackbone
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.image_data_check import check_outputs
from lightning_modules.library_nets import LibraryNet, TimmNet, TorchvisionNet
from lightning_modules.optim.parameter_groups import parameter_groups
from lightning_modules.pretrained import load_network
from lightning_modules.torchvision_weights import published_address, weights_file
from tests.lightning_modules.image_fakes import Data
from utils.trust import Refusal, admit_object


@pytest.mark.parametrize(
    ("name", "head"),
    [("squeezenet1_1", "network.classifier.1"), ("mobilenet_v3_small", "network.classifier.3")],
)
def test_a_network_is_torchvisions_with_its_weights_and_a_head_of_its_own(name: str, head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=1000).eval()
    torch.save(theirs.state_dict(), tmp_path / "published.pth")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    same = TorchvisionNet(name, num_classes=1000).eval()
    load_network(same, tmp_path / "published.pth")
    with torch.no_grad():
        assert torch.equal(same(images), theirs(images))

    fewer = TorchvisionNet(name, num_classes=3)
    load_network(fewer, tmp_path / "published.pth")
    assert fewer.head == head
    assert fewer.eval()(images).shape == (2, 3)
    groups = {group["name"]: group["params"] for group in parameter_groups(fewer, *fewer.head_names)}
    assert [parameter.shape[0] for parameter in groups["head"]] == [3]
    body = [key for key in theirs.state_dict() if not f"network.{key}".startswith(head)]
    assert all(torch.equal(fewer.state_dict()[f"network.{key}"], theirs.state_dict()[key]) for key in body)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fasterrcnn_resnet50_fpn", None, "a network of torchvision.models.detection, not for classification"),
        ("convnext_tny", None, "torchvision has no such network for classification; did you mean convnext_tiny"),
        ("os.system", None, "torchvision has no such network"),
        ("squeezenet1_1", {"weights": "DEFAULT"}, "options.weights is not accepted: weights are loaded by"),
        ("squeezenet1_1", {"dropuot": 0.1}, r"options {'dropuot': 0.1} do not fit squeezenet1_1: .*dropuot"),
        ("googlenet", None, "aux_logits: false"),
        ("mobilenet_v2", {"round_nearest": 0}, r"options {'round_nearest': 0} do not fit mobilenet_v2: .* zero"),
    ],
)
def test_what_is_no_classifier_is_refused(name: str, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchvisionNet(name, 3, options)


class Fixed(LibraryNet):
    """A network for images of 8 pixels, as vision transformers are for one size."""

    def __init__(self, *after: nn.Module) -> None:
        super().__init__("fixed", nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3), *after), 3)


def test_images_of_a_size_that_does_not_fit_are_refused_before_training(trainer: Any) -> None:
    check_outputs(Fixed(), 8)
    model = ImageClassifier(Fixed(), optimizer=torch.optim.SGD, schedule=lambda *_: None)  # type: ignore
    data = Data(3)
    data.input_size = 16
    with pytest.raises(ValueError, match=r"fixed does not take images of 16x16 pixels .*--data.image_size"):
        trainer().fit(model, datamodule=data)
    with pytest.raises(
        ValueError, match=r"Fixed fixed returns \[2, 3, 1\] .*, but must return one logit per class, \[2, 3\]: choose"
    ):
        check_outputs(Fixed(nn.Unflatten(1, (3, 1))), 8)


def test_a_checkpoint_names_a_network_as_data() -> None:
    path = "lightning_modules.library_nets.TorchvisionNet"
    good = {"class_path": path, "init_args": {"name": "squeezenet1_1", "num_classes": 3, "options": {"dropout": 0.1}}}
    assert admit_object(good, nn.Module, "model.architecture") == good
    for value in ({"class_path": "os.system"}, ["rm"]):
        bad = {"class_path": path, "init_args": {"name": "squeezenet1_1", "options": {"dropout": value}}}
        with pytest.raises(Refusal, match=r"options.dropout"):
            admit_object(bad, nn.Module, "model.architecture")
    with pytest.raises(Refusal, match=r"torchvision.models.resnet18.*not a class of this program"):
        admit_object({"class_path": "torchvision.models.resnet18"}, nn.Module, "model.architecture")


def test_a_missing_file_of_weights_names_the_address_of_published_ones(tmp_path: Path) -> None:
    from architectures.mobilenet_v2 import MobileNetV2
    from architectures.resnet import ResNet

    base = "https://download.pytorch.org/models"
    assert published_address(ResNet(18, num_classes=3, stem="imagenet"), 3) == f"{base}/resnet18-f37072fd.pth"
    assert published_address(ResNet(18, num_classes=3, stem="cifar"), 3) is None
    assert published_address(ResNet(20, num_classes=3), 3) is None
    assert str(published_address(MobileNetV2(3, stem="imagenet"), 3)).startswith(f"{base}/mobilenet_v2-")
    net = TorchvisionNet("squeezenet1_1", 3)
    with pytest.raises(FileNotFoundError, match=rf"no such file: .*a.pt; .*--model.init_from {base}/squeezenet1_1-"):
        weights_file(str(tmp_path / "a.pt"), network=net)


OLD_NAMES = {
    "vit_b_32": {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."},
    "densenet121": {"norm1.": "norm.1.", "conv1.": "conv.1.", "norm2.": "norm.2.", "conv2.": "conv.2."},
    "mnasnet0_5": {},
}
"""Networks whose published files torchvision itself does not load as they are, and the names in them."""


@pytest.mark.parametrize("name", OLD_NAMES)
def test_published_files_are_loaded_under_their_old_names(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs, ours = TorchvisionNet(name, 3), TorchvisionNet(name, 3)
    old = theirs.network.state_dict()
    for new_name, old_name in OLD_NAMES[name].items():
        layer = "denselayer" if name == "densenet121" else ""
        old = {key.replace(new_name, old_name) if layer in key else key: value for key, value in old.items()}
    assert bool(OLD_NAMES[name]) == (old.keys() != theirs.network.state_dict().keys())
    torch.save(dict(old), tmp_path / "a.pth")
    load_network(ours, tmp_path / "a.pth")
    for key, value in ours.network.state_dict().items():
        assert torch.equal(value, theirs.network.state_dict()[key])


def test_heads_that_only_help_to_train_are_left_out(tmp_path: Path) -> None:
    from torchvision.models import googlenet

    theirs = googlenet(num_classes=3, aux_logits=True, init_weights=False)
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = TorchvisionNet("googlenet", 3, {"aux_logits": False, "init_weights": False})
    load_network(ours, tmp_path / "a.pth")
    assert torch.equal(ours.network.state_dict()["conv1.conv.weight"], theirs.state_dict()["conv1.conv.weight"])


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is a folder without checkpoints/best.ckpt or last.ckpt"):
        weights_file(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    assert weights_file(str(tmp_path)) == tmp_path / "checkpoints" / "best.ckpt"


def test_timm_is_an_extra_whose_absence_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ValueError, match=r"TimmNet needs timm: pip install 'one-for-all\[timm\]'"):
        TimmNet("resnet18")


def test_a_network_of_timm_gives_its_logits(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    ours = TimmNet("test_resnet", 3).eval()
    load_network(ours, tmp_path / "a.pth")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
    with pytest.raises(ValueError, match="timm has no such network"):
        TimmNet("hf-hub:somebody/model", 3)
    with pytest.raises(ValueError, match=r"options.pretrained is not accepted"):
        TimmNet("test_resnet", 3, {"pretrained": True})
    with pytest.raises(ValueError, match=r"options.checkpoint_path is not accepted"):
        TimmNet("test_resnet", 3, {"checkpoint_path": "x.pth"})
    with pytest.raises(ValueError, match=r"does not take images of 40x40 pixels"):
        check_outputs(TimmNet("test_vit", 3), 40)


def test_both_heads_of_a_distilled_network_are_new_for_other_classes_and_of_the_head(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    name, options = "deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}
    torch.save(timm.create_model(name, num_classes=5, **options).state_dict(), tmp_path / "a.pth")
    ours = TimmNet(name, 3, options)  # type: ignore[arg-type]
    load_network(ours, tmp_path / "a.pth")
    assert ours.head_names == ("network.head", "network.head_dist")
    groups = {group["name"]: group["params"] for group in parameter_groups(ours, *ours.head_names)}
    assert [list(matrix.shape) for matrix in groups["head"]] == [[3, 192], [3, 192]]
    freeze, module = FreezeBackbone(1), SimpleNamespace(architecture=ours)
    for hook in (freeze.on_fit_start, freeze.on_train_start):
        hook(SimpleNamespace(current_epoch=0, strategy=None), module)  # type: ignore[arg-type]
    trained = {key for key, parameter in ours.named_parameters() if parameter.requires_grad}
    assert trained == {f"{head}.{kind}" for head in ours.head_names for kind in ("weight", "bias")}
