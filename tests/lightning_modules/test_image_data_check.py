"""Networks that do not return one logit per class are refused before a fit, and images of another size are reported."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from datamodules.image_folder import ImageFolderDataModule
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import Constant
from tests.lightning_modules.image_fakes import SIZE, Data, TinyNet, classifier


class Odd(TinyNet):
    """A network with an output that a loss may take, but that is not its logits."""

    def __init__(self, kind: str) -> None:
        super().__init__(10)
        self.kind = kind

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return {"more": torch.cat([logits, logits], 1), "dict": {"logits": logits}, "tuple": (logits, logits)}[
            self.kind
        ]


@pytest.mark.parametrize(
    ("kind", "given"), [("more", r"returns \[2, 20\]"), ("dict", "returns a dict"), ("tuple", "returns a tuple")]
)
def test_outputs_that_are_not_one_logit_per_class_are_refused_before_training(
    kind: str, given: str, trainer: Any
) -> None:
    model = ImageClassifier(Odd(kind), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1), schedule=Constant)
    fit = trainer(limit_val_batches=0)
    with pytest.raises(
        ValueError, match=rf"Odd {given} .*, but must return one logit per class, \[2, 10\]: return only the logits"
    ):
        fit.fit(model, datamodule=Data())
    assert fit.global_step == 0


class Pooled(TinyNet):
    """A network for images of any size."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.nn.functional.adaptive_avg_pool2d(images, SIZE))


def test_images_of_another_size_than_in_training_are_reported(trainer: Any) -> None:
    model, data = ImageClassifier(Pooled()), Data()
    model.input_size, data.input_size = 16, SIZE
    for use in ("validate", "test", "predict"):
        with pytest.warns(UserWarning, match="trained on images of 16x16 pixels, but these have 8x8"):
            getattr(trainer(), use)(model, datamodule=data)


def test_files_that_are_read_at_another_size_are_reported(trainer: Any, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    model = ImageClassifier(Pooled())
    model.input_size = SIZE
    for size, words in ((None, None), (12, "trained on images of 8x8 pixels, but these have 12x12")):
        data = ImageFolderDataModule(None, image_size=size, predict_path=str(tmp_path))
        with pytest.warns(UserWarning, match=words) if words else warnings.catch_warnings():
            warnings.filterwarnings("error" if words is None else "default", message="the model was trained on images")
            trainer().predict(model, datamodule=data)


class Demanding(TinyNet):
    """A network that takes no image smaller than 8x8."""

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] < 8:
            raise RuntimeError("output size is too small")
        return super().forward(torch.nn.functional.adaptive_avg_pool2d(images, SIZE))


def test_a_size_of_training_images_that_the_network_cannot_take_is_refused(trainer: Any) -> None:
    model = ImageClassifier(Demanding(), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1), schedule=Constant)
    data = Data()
    data.training_sizes = [4]  # type: ignore[attr-defined]
    fit = trainer(limit_val_batches=0)
    with pytest.raises(ValueError, match=r"Demanding does not take images of 4x4 .*: pass other sizes in"):
        fit.fit(model, datamodule=data)
    assert fit.global_step == 0


@pytest.mark.parametrize("options", [{"tta": "flip-translate"}, {"init_offline": "Stop"}])
def test_a_choice_that_does_not_exist_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be one of"):
        ImageClassifier(TinyNet(), **options)


def test_the_check_leaves_the_network_as_it_was(trainer: Any) -> None:
    from lightning_modules.image_data_check import check_outputs

    net = classifier().architecture.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    check_outputs(net, SIZE)
    assert net.training and net.norm.training  # type: ignore[union-attr]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
