"""ONNX and .pt2 files give what the classifier gives, on images that it was not compared on, at any batch size."""

import importlib
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import architectures
from architectures.base import ImageClassifierNet
from architectures.custom_cnn import CustomCNN
from architectures.mobilenet_v1 import MobileNetV1
from architectures.mobilenet_v2 import MobileNetV2
from architectures.mobinet import MobiNet
from architectures.resnet import ResNet
from datamodules.images.decoding import decode_image
from exports.onnx_file import write_onnx
from exports.pt2_file import write_pt2
from exports.raw_images import READ_IMAGE
from lightning_modules.image_classifier import ImageClassifier
from tests.exports.models import make_classifier, unseen_images

SMALL = "CustomCNN"
NETS: dict[str, Callable[[], ImageClassifierNet]] = {
    SMALL: lambda: CustomCNN(num_classes=4, widths=(8, 16)),
    "CustomCNN-3": lambda: CustomCNN(widths=(8, 16), convolutions_per_stage=3),
    "ResNet-20": lambda: ResNet(20),
    "ResNet-18 of ImageNet": lambda: ResNet(18, stem="imagenet"),
    "ResNet-50 pre-activation": lambda: ResNet(50, pre_activation=True),
    "ResNeXt-50": lambda: ResNet(50, groups=32, width_per_group=4),
    "MobileNetV1": lambda: MobileNetV1(width_multiplier=0.25),
    "MobileNetV2": lambda: MobileNetV2(width_multiplier=0.25),
    "MobiNet": lambda: MobiNet(),
}
# To export one takes seconds
every_net = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == SMALL else pytest.mark.slow) for name in NETS]
)


def largest_difference(classifier: ImageClassifier, run: Callable[[Tensor], dict[str, Tensor]]) -> float:
    differences = []
    for seed, number in enumerate((1, 3, 8)):
        images = unseen_images(number, classifier.input_size or 0, seed)
        with torch.no_grad():
            logits = classifier(images)
        outputs = run(images)
        differences += [outputs["logits"] - logits, outputs["probabilities"] - (logits / 1.5).softmax(1)]
    return max(float(difference.abs().max()) for difference in differences)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_an_error_of_the_operating_system() -> None:
    with pytest.raises(OSError, match=r"No space left on device"):
        write_pt2(make_classifier(NETS[SMALL]()), Path("/dev/full"))


def test_all_networks_are_covered() -> None:
    for module in pkgutil.iter_modules(architectures.__path__, "architectures."):
        importlib.import_module(module.name)
    ours = {net for net in ImageClassifierNet.__subclasses__() if net.__module__.startswith("architectures.")}
    assert {type(make()) for make in NETS.values()} == ours


@every_net
def test_an_onnx_file_in_onnxruntime_gives_what_the_classifier_gives(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, path = make_classifier(NETS[name](), 40 if name == SMALL else 32), tmp_path / "model.onnx"
    exported = write_onnx(model, path)
    session = onnxruntime.InferenceSession(path)

    def run(images: Tensor) -> dict[str, Tensor]:
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, map(torch.tensor, session.run(None, {"images": images.numpy()})), strict=True))

    assert largest_difference(model.module, run) < 1e-4
    assert session.get_inputs()[0].shape == ["batch", 3, model.size, model.size]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == model.module.class_names
    assert metadata["input"] == exported.takes
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # weights are in it


@every_net
def test_a_pt2_file_gives_what_the_classifier_gives(name: str, tmp_path: Path) -> None:
    model, path = make_classifier(NETS[name]()), tmp_path / "model.pt2"
    write_pt2(model, path)
    files = {"class_names.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    assert largest_difference(model.module, program) < 1e-4
    assert json.loads(files["class_names.json"]) == model.module.class_names


class Fickle(ImageClassifierNet):
    """A network that is not the same in each run."""

    head = "fc"

    def __init__(self) -> None:
        super().__init__(3)
        self.fc = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean((2, 3)) + torch.rand(1))


class PerImage(Fickle):
    """A network with a loop that torch.export cannot follow."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([image.mean((1, 2)) * float(image.max()) for image in images])


def test_an_export_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"differ from those of the checkpoint by .*: not exported"):
        write_pt2(make_classifier(Fickle()), tmp_path / "model.pt2")


def test_a_network_that_torch_cannot_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model.architecture PerImage cannot be exported: \S"):
        write_pt2(make_classifier(PerImage()), tmp_path / "model.pt2")


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.exported.find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ValueError, match=r"^onnxruntime is not installed; pip install 'one-for-all\[export\]'$"):
        write_onnx(make_classifier(NETS[SMALL]()), tmp_path / "model.onnx")


def test_the_printed_lines_read_an_image_as_predict_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spots = Image.fromarray(unseen_images(1, 40, 0)[0, :, :, :30].permute(1, 2, 0).numpy())
    turned, veiled = Image.Exif(), spots.copy()
    turned[0x0112] = 6  # a quarter turn
    veiled.putalpha(Image.linear_gradient("L").resize(spots.size))
    plain: dict[str, Any] = {}
    for image, options in ((spots, plain), (spots, {"exif": turned}), (veiled, plain), (spots.convert("L"), plain)):
        image.save(tmp_path / "image.png", **options)
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {}
        exec("\n".join(READ_IMAGE).format(size=16), names)
        assert torch.equal(torch.from_numpy(names["images"].copy())[0], decode_image(Path("image.png"), 16))
