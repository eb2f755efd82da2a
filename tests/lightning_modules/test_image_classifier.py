"""The image classifier: arguments, views, losses and checkpoints, and a network that records what it is shown."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.images.augmentation import mixup
from lightning_modules.image_classifier import ImageClassifier
from tests.close import assert_close
from tests.lightning_modules.image_fakes import SIZE, Data, TinyNet, by_hand, classifier
from utils.batches import ImageBatch

# --- arguments and data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"body_lr_scale": -1}, "body_lr_scale"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        classifier(**arguments)


def test_only_a_new_training_needs_the_file_of_init_from(trainer, tmp_path):
    data, model = Data(), classifier(init_from=str(tmp_path / "weights.pt"))
    with pytest.raises(FileNotFoundError, match=r"init_from: no such file: .*weights.pt"):
        trainer().fit(model, datamodule=data)
    torch.save(classifier().architecture.state_dict(), tmp_path / "weights.pt")
    first = trainer(max_steps=1, limit_val_batches=0)
    first.fit(model, datamodule=data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "weights.pt").unlink()
    model, settings = classifier(init_from=str(tmp_path / "weights.pt")), {"ckpt_path": tmp_path / "a.ckpt"}
    trainer().test(model, data, weights_only=False, verbose=False, **settings)
    trainer(max_steps=2).fit(model, datamodule=data, weights_only=False, **settings)


def test_other_class_count_than_the_data_is_an_error(trainer):
    with pytest.raises(ValueError, match=r"10 classes but model.architecture.num_classes is 4"):
        trainer().fit(classifier(4), datamodule=Data(10))


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_data_with_other_classes_than_those_of_the_training_is_not_scored(trainer, stage):
    model, data = classifier(3), Data(3)
    model.class_names = ["ant", "cat", "dog"]
    with pytest.raises(ValueError, match=r"class0, class1, class2 .* ant, cat, dog"):
        getattr(trainer(), stage)(model, datamodule=data, verbose=False)
    trainer().predict(model, datamodule=data)  # needs no labels


def test_validation_has_the_running_statistics_of_the_first_process(trainer, monkeypatch):
    def copy(tensors: Iterable[Tensor]) -> None:
        """Stands for a first process whose statistics are all 7."""
        for tensor in tensors:
            tensor.fill_(7)

    monkeypatch.setattr("lightning_modules.training_module.copy_from_first", copy)
    model = classifier()
    trainer().validate(model, datamodule=Data(), verbose=False)
    copied = {name for name, buffer in model.named_buffers() if (buffer == 7).all()}
    assert copied == {f"architecture.norm.{name}" for name, _ in nn.BatchNorm2d(4).named_buffers()}


# --- normalisation and views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalisation(channels_last):
    model = classifier(channels_last=channels_last)
    model.mean.copy_(torch.tensor([0.2, 0.4, 0.6]))
    model.std.copy_(torch.tensor([0.1, 0.2, 0.3]))
    images = Data().images[:4]
    expected = (images.double() / 255 - model.mean.double().view(3, 1, 1)) / model.std.double().view(3, 1, 1)
    for given in (images, images.float()):
        assert_close(model.normalize(given), expected, dtype=torch.float32)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    assert model.normalize(images).is_contiguous(memory_format=memory)
    model.eval()
    with torch.no_grad():
        assert_close(model(images), model.architecture(expected.float()))


def test_tta_is_the_mean_over_the_views():
    model, images = classifier(tta="flip").eval(), Data().images[:5]
    with torch.no_grad():
        mean = (model(images) + model(images.flip(3))) / 2
        torch.testing.assert_close(model.predict_with_tta(images), mean.softmax(1))
        model.tta = "flip_translate"
        padded = F.pad(images.float(), (1,) * 4, mode="reflect")
        corners = [padded[..., :SIZE, :SIZE], padded[..., 2:, 2:]]
        shifted = sum(model(corner) + model(corner.flip(3)) for corner in corners) / 4
        torch.testing.assert_close(model.predict_with_tta(images), (mean / 2 + shifted / 2).softmax(1))


# --- losses --------------------------------------------------------------------------------------------------------


def step_loss(model: ImageClassifier, images: Tensor, targets: Tensor) -> Tensor:
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    model.architecture.eval()  # keeps the batch's statistics out of what is compared
    return model.training_step(ImageBatch(images, targets), 0)


def test_label_smoothing_is_its_formula():
    data = Data()
    model = classifier(label_smoothing=0.2)
    log_p = by_hand(model, data.images).log()
    true = log_p[torch.arange(60), data.labels]
    expected = -(0.8 * true + 0.2 * log_p.mean(1)).mean()  # Szegedy et al. 2016, section 7
    torch.testing.assert_close(step_loss(model, data.images, data.labels), expected, rtol=1e-4, atol=1e-5)


def test_mixed_targets_are_scored_as_distributions():
    data = Data()
    model = classifier()
    images, targets = mixup(data.images, F.one_hot(data.labels, 10).float(), 0.7)
    log_p = by_hand(model, images).log()
    own = log_p[torch.arange(60), data.labels]
    neighbour = log_p[torch.arange(60), data.labels.roll(1)]
    expected = -(0.7 * own + 0.3 * neighbour).mean()
    torch.testing.assert_close(step_loss(model, images, targets), expected, rtol=1e-4, atol=1e-5)
    # accuracy counts the image with the larger share
    right = (log_p.argmax(1) == data.labels).float().mean()
    assert model.train_sums.total()["correct"] / 60 == pytest.approx(right.item())


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_what_the_model_knows_of_its_input(trainer, tmp_path):
    data, model = Data(), classifier()
    trained = trainer(max_steps=1, limit_val_batches=0)
    trained.fit(model, datamodule=data)
    trained.save_checkpoint(tmp_path / "a.ckpt")
    expected = trainer().predict(model, data)

    data.class_names, data.mean = ["other"] * 10, (0.9, 0.9, 0.9)  # `predict` does not look at them
    loaded = classifier()
    found = trainer().predict(loaded, data, ckpt_path=tmp_path / "a.ckpt", weights_only=False)
    assert loaded.class_names == [f"class{k}" for k in range(10)]
    assert loaded.input_size == SIZE
    torch.testing.assert_close(loaded.mean, torch.tensor([0.2, 0.4, 0.6]))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one["probabilities"], other["probabilities"])


# --- initial weights, learning rates, compiler ---------------------------------------------------------------------


def test_a_new_training_shows_the_network_normalised_images(trainer):
    data, model = Data(), classifier()
    trainer(max_steps=1).fit(model, datamodule=data)
    seen = model.architecture.initial_images
    assert seen is not None
    assert seen.shape == data.images.shape
    whole = (data.images.double() / 255 - torch.tensor(data.mean).view(3, 1, 1)) / torch.tensor(data.std).view(3, 1, 1)
    assert sorted(seen.double().sum((1, 2, 3)).tolist()) == pytest.approx(
        sorted(whole.sum((1, 2, 3)).tolist()), rel=1e-3
    )


def test_of_many_images_the_network_is_shown_some_from_everywhere(trainer, monkeypatch):
    monkeypatch.setattr("lightning_modules.image_classifier.INITIALIZATION_IMAGES", 20)
    shown = []
    for seed in (0, 1):
        data, model = Data(), classifier(seed=seed)
        data.images = torch.arange(60, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, SIZE, SIZE)  # its place
        trainer(max_steps=1, limit_val_batches=0).fit(model, datamodule=data)
        seen = model.architecture.initial_images
        assert isinstance(seen, Tensor)
        shown.append(((seen[:, 0, 0, 0] * data.std[0] + data.mean[0]) * 255).round().int().tolist())
    for places in shown:
        assert len(places) == len(set(places)) == 20
        assert max(places) >= 40 and min(places) < 20
    assert set(shown[0]) != set(shown[1])


def test_init_from_starts_from_the_file(trainer, tmp_path):
    source = TinyNet(4)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    model = classifier(init_from=str(tmp_path / "weights.pt"), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    head = model.architecture.fc.weight.detach().clone()  # type: ignore[union-attr]
    trainer(max_steps=1).fit(model, datamodule=Data())
    assert torch.equal(model.architecture.conv.weight, source.conv.weight)  # type: ignore[union-attr]
    assert torch.equal(model.architecture.fc.weight, head)  # type: ignore[union-attr]
    assert model.architecture.initial_images is None


def test_body_lr_scale_spares_the_head(trainer):
    model = classifier(body_lr_scale=0.25)
    trained = trainer(max_steps=1, limit_val_batches=0)
    trained.fit(model, datamodule=Data())
    rates = {group["name"]: group["lr"] for group in trained.optimizers[0].param_groups}
    assert rates == pytest.approx({"weights": 0.025, "head": 0.1, "vectors": 0.025, "head_vectors": 0.1})


def test_a_compiled_network_keeps_its_names(trainer, monkeypatch):
    class Wrapper(nn.Module):
        """Stands for the module that torch.compile returns."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod, self.head, self.forward = module, module.head, module.forward  # type: ignore[method-assign]

    compiled: list[Any] = []

    def compile_nothing(target: Any, *args: Any, **kwargs: Any) -> Any:
        compiled.append(target)
        return Wrapper(target) if isinstance(target, nn.Module) else target

    monkeypatch.setattr(torch, "compile", compile_nothing)
    model = classifier(compile_network=True)
    expected = list(classifier().state_dict())
    trained = trainer(max_steps=1, limit_val_batches=0)
    trained.fit(model, datamodule=Data())
    assert compiled
    assert list(model.state_dict()) == expected
    trained.save_checkpoint(Path(trained.default_root_dir) / "a.ckpt")
    saved = torch.load(Path(trained.default_root_dir) / "a.ckpt", weights_only=False)
    assert list(saved["state_dict"]) == expected
