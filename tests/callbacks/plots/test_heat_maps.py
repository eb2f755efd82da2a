"""Heat maps equal Grad-CAM computed by hand, exist for every network of convolutions, and leave no trace in it."""

import base64
import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from architectures.custom_cnn import CustomCNN
from architectures.mobilenet_v1 import MobileNetV1
from architectures.mobilenet_v2 import MobileNetV2
from architectures.mobinet import MobiNet
from architectures.resnet import ResNet
from callbacks.plots.confident_mistakes import ConfidentMistakes
from callbacks.plots.heat_maps import heat_maps, last_stage, overlay
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.library_nets import TorchvisionNet

pytest.importorskip("captum")


class TwoConvolutions(nn.Module):
    """`pool` is what makes one number of a channel; the in-place activation overwrites what a hook may have kept."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.pool = pool
        self.before = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.stage = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(5, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw)

    def answer(self, features: Tensor) -> Tensor:
        return self.head(features.mean((2, 3)) if self.pool == "mean" else features.amax((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.stage(self.before(images)))


def by_hand(network: TwoConvolutions, image: Tensor, label: int) -> Tensor:
    """Return the heat map of one image, [H, W]."""
    with torch.enable_grad():
        features = network.stage(network.before(image[None].float() / 255)).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(network.answer(features)[0, label], features)
    weights = gradient[0].mean((1, 2))
    heat = sum(
        (weight * channel for weight, channel in zip(weights, features.detach()[0], strict=True)), torch.zeros(())
    )
    heat = F.interpolate(heat.clamp(min=0)[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    return heat / heat.max() if heat.max() > 0 else heat


@pytest.fixture
def seeing(tiny_classifier):
    class Seeing(tiny_classifier):
        def __init__(self, network: nn.Module, **arguments) -> None:
            super().__init__(**arguments)
            self.architecture = network

        def forward(self, images: Tensor) -> Tensor:
            return self.architecture(images.float() / 255)

    return Seeing


def some_images(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pool", ["mean", "amax"])
def test_they_equal_those_by_hand(pool, seeing, make_trainer):
    module = seeing(TwoConvolutions(pool)).eval()
    module.architecture.head.weight.data[0] = -1  # nothing speaks for class 0
    images = some_images(10, 12)  # more than pass at once
    classes = torch.stack([torch.arange(10) % 3, torch.arange(10) // 4], 1)
    found = heat_maps(make_trainer(), module, images, classes)
    assert found.stage == "stage"
    assert found.maps.shape == (10, 2, 12, 12)
    expected = [
        [by_hand(module.architecture, image, int(label)) for label in pair]
        for image, pair in zip(images, classes, strict=True)
    ]
    torch.testing.assert_close(found.maps, torch.stack([torch.stack(pair) for pair in expected]))
    assert (found.maps.amax((2, 3)) == (classes > 0)).all()


def test_with_a_mean_over_pixels_they_are_class_activation_maps(seeing, make_trainer):
    """Zhou et al. 2016, arXiv:1512.04150: the head's weights in place of gradients."""
    network = TwoConvolutions("mean")
    images = some_images(1, 12)
    features = network.stage(network.before(images.float() / 255))
    heat = torch.einsum("c,chw->hw", network.head.weight[2], features[0]).detach().clamp(min=0)
    expected = F.interpolate(heat[None, None], (12, 12), mode="bilinear")[0, 0]
    found = heat_maps(make_trainer(), seeing(network).eval(), images, torch.tensor([[2]]))
    torch.testing.assert_close(found.maps[0, 0], expected / expected.max())


def test_a_test_writes_those_of_its_errors_and_leaves_no_trace(seeing, make_trainer, tiny_data, tmp_path):
    network = TwoConvolutions("mean")
    network.before[0].weight.requires_grad = False
    module = seeing(network, answers=[0, 2, 2], class_names=["ant", "bee", "cow"])
    before = {name: value.clone() for name, value in module.state_dict().items()}
    make_trainer(ConfidentMistakes(count=2)).test(module, tiny_data(), verbose=False)  # in inference mode
    data = json.loads((tmp_path / "mistakes.json").read_text())
    assert data["no_heat"] is None
    assert data["heat_stage"] == "stage"
    assert len(data["mistakes"]) == 2
    for each in data["mistakes"]:  # of images of 20s
        for name, label in (("true", 1), ("predicted", 2)):
            seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(each["heat"][name]))))
            expected = by_hand(network, torch.full((3, 8, 8), 20), label) * 0.8 * 255
            assert seen.shape == (8, 8, 4)
            assert np.abs(seen[:, :, 3] - expected.numpy()).max() <= 1
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert [parameter.requires_grad for parameter in network.parameters()] == [False] + [True] * 5
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_a_fit_has_none_and_they_can_be_turned_off(seeing, make_trainer, tiny_data, tmp_path):
    def data_of(run) -> tuple[str | None, str | None]:
        run(seeing(TwoConvolutions("mean"), answers=[0, 2, 2]), tiny_data())
        data = json.loads((tmp_path / "mistakes.json").read_text())
        assert not any("heat" in each for each in data["mistakes"])
        return data["heat_stage"], data["no_heat"]

    assert data_of(make_trainer(ConfidentMistakes()).fit) == (None, None)
    off = (None, "ConfidentMistakes has heat_maps: false")
    assert data_of(make_trainer(ConfidentMistakes(heat_maps=False)).test) == off


def test_a_compiled_network_has_the_same(seeing, make_trainer):
    module = seeing(TwoConvolutions("mean")).eval()
    images, classes = some_images(2, 12), torch.tensor([[0, 1], [2, 0]])
    expected = heat_maps(make_trainer(), module, images, classes)
    module.architecture.compile(backend="eager")
    with torch.inference_mode():
        module(images)  # compiled without hooks
        found = heat_maps(make_trainer(), module, images, classes)
    assert found.stage == expected.stage
    torch.testing.assert_close(found.maps, expected.maps, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "stage"),
    [
        (lambda: CustomCNN(num_classes=3, widths=[8, 16]), "stages"),
        (lambda: ResNet(num_classes=3, depth=20), "last_activation"),
        (lambda: ResNet(num_classes=3, depth=18, pre_activation=True), "last_activation"),
        (lambda: MobileNetV1(num_classes=3), "features"),
        (lambda: MobileNetV2(num_classes=3), "features"),
        (lambda: MobiNet(num_classes=3), "last"),
        (lambda: TorchvisionNet("shufflenet_v2_x0_5", num_classes=3), "network.conv5"),
    ],
    ids=["CustomCNN", "ResNet-20", "pre-activation ResNet-18", "MobileNetV1", "MobileNetV2", "MobiNet", "torchvision"],
)
def test_every_shipped_network_has_a_last_stage(network, stage, make_trainer):
    torch.manual_seed(0)
    module = ImageClassifier(network()).eval()
    found = heat_maps(make_trainer(), module, some_images(2, 64), torch.tensor([[0, 1], [2, 0]]))
    assert found.stage == stage
    assert found.maps.isfinite().all()
    assert found.maps.shape == (2, 2, 64, 64)
    assert found.maps.amax((2, 3)).max() == 1
    assert found.maps.std((2, 3)).max() > 0.01


def test_a_transformer_says_that_it_has_none(make_trainer):
    class Patches(ImageClassifierNet):
        head = "answer"

        def __init__(self) -> None:
            super().__init__(3)
            self.patches = nn.Conv2d(3, 8, 8, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
            self.answer = nn.Linear(8, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.answer(self.layer(self.patches(images).flatten(2).mT).mean(1))

    with pytest.raises(ValueError, match="Patches has no convolutional stage beyond its first layer"):
        heat_maps(make_trainer(), ImageClassifier(Patches()).eval(), some_images(1, 32), torch.tensor([[0]]))


def test_an_activation_that_is_called_twice_is_no_end_of_a_stage():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), shared, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), shared, nn.Flatten())
    assert last_stage(network.eval(), lambda: network(torch.zeros(1, 3, 8, 8))) == "3"


def test_an_overlay_is_transparent_where_there_is_no_heat():
    picture = overlay(torch.tensor([[0.0, 0.5, 1.0]]))
    assert picture.dtype == torch.uint8
    assert picture[3].tolist() == [[0, 102, 204]]
    red, green, blue, _ = picture[:, 0, 2].tolist()
    assert red > 100 > max(green, blue)
