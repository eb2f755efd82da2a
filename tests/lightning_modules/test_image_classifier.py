"""The image classifier against scikit-learn, formulas by hand, and a network that records what it is shown."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from architectures.base import ImageClassifierNet
from datamodules.images.augmentation import mixup
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import Constant
from tests.close import assert_close
from utils.batches import ImageBatch
from utils.contracts import ImageExamples, ProvidesImages, ProvidesTrainingImages

SIZE = 8


class TinyNet(ImageClassifierNet):
    head = "fc"

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * (SIZE - 2) ** 2, num_classes)
        self.initial_images: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(images)).relu().flatten(1))

    def initialize_from_data(self, images: Tensor) -> None:
        self.initial_images = images


class Data(LightningDataModule, ProvidesImages, ProvidesTrainingImages):
    """Random images of all classes in memory."""

    mean, std, input_size = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3), SIZE

    def __init__(self, classes: int = 10, count: int = 60, batch_size: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.images = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        self.labels = torch.randint(0, classes, (count,), generator=generator)
        self.labels[:classes] = torch.arange(classes)
        self.class_names = [f"class{k}" for k in range(classes)]
        self.batch_size = batch_size

    @property
    def train_set(self) -> ImageExamples:
        return self

    def train_dataloader(self) -> DataLoader:
        pairs: Any = list(zip(self.images, self.labels, strict=True))
        return DataLoader(pairs, batch_size=self.batch_size)

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self) -> DataLoader:
        triples: Any = list(zip(self.images, self.labels, torch.arange(len(self.images)), strict=True))
        return DataLoader(triples, batch_size=self.batch_size)


def classifier(num_classes: int = 10, **arguments: Any) -> ImageClassifier:
    torch.manual_seed(0)
    net = TinyNet(num_classes)
    nn.init.normal_(net.fc.weight, std=0.1)
    arguments.setdefault("optimizer", lambda groups: torch.optim.SGD(groups, lr=0.1))
    arguments.setdefault("schedule", Constant)
    return ImageClassifier(net, **arguments)


def by_hand(model: ImageClassifier, images: Tensor, mean: Any = 0.5, std: Any = 0.5) -> Tensor:
    """Probabilities, with the images normalised one after the other."""
    net = model.architecture.eval()
    one_by_one = []
    for image in images:
        pixels = image.permute(1, 2, 0).numpy() / 255
        one_by_one.append(torch.from_numpy((pixels - np.array(mean)) / np.array(std)).permute(2, 0, 1).float())
    with torch.no_grad():
        return net(torch.stack(one_by_one)).softmax(1)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, over 15 bins of equal width."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return error


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


# --- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 10])
def test_test_metrics_against_sklearn(trainer, classes):
    data, model = Data(classes), classifier(classes, tta="flip")
    model.temperature = 2.5
    metrics = trainer().test(model, datamodule=data, verbose=False)[0]
    probabilities, labels = by_hand(model, data.images).numpy(), data.labels.numpy()
    scaled = probabilities**0.4 / (probabilities**0.4).sum(1, keepdims=True)
    answers = probabilities.argmax(1)
    expected = {
        "test/accuracy": accuracy_score(labels, answers),
        "test/calibration_error": calibration_error(probabilities, labels),
        "test/calibration_error_scaled": calibration_error(scaled, labels),
        "test/loss": -np.log(probabilities[np.arange(len(labels)), labels]).mean(),
        "test/accuracy_tta": accuracy_score(labels, model.predict_with_tta(data.images).argmax(1)),
    }
    recalls = recall_score(labels, answers, average=None, labels=range(classes))
    expected |= {f"test/class_accuracy/{k}": recall for k, recall in enumerate(recalls)}
    if classes >= 10:
        expected["test/accuracy_top5"] = top_k_accuracy_score(labels, probabilities, k=5, labels=range(classes))
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert 0 < expected["test/accuracy"] < 1


def test_the_temperature_of_the_last_validation_is_kept_and_used(trainer, tmp_path):
    data, model = (
        Data(5, count=400),
        classifier(5, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0), tta="none"),
    )
    log_p = by_hand(model, data.images, Data.mean, Data.std).log()
    data.labels = torch.multinomial((log_p / 2).softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    trained = trainer()
    trained.fit(model, datamodule=data)

    log_p = by_hand(model, data.images, Data.mean, Data.std).log()
    losses = {t: F.cross_entropy(log_p / t, data.labels).item() for t in np.linspace(0.3, 7, 700)}
    best = min(losses, key=lambda t: losses[t])
    assert best > 1.2
    assert model.temperature == pytest.approx(best, rel=0.02)
    outputs = trainer().predict(model, datamodule=data)
    assert_close(torch.cat([each["probabilities"] for each in outputs]), (log_p / model.temperature).softmax(1))

    trained.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=False)
    state = checkpoint["image_classifier"]
    again = classifier(5)
    again.on_load_checkpoint(checkpoint)
    assert again.temperature == model.temperature
    for wrong, words in ((-1.0, "temperature must be a number above 0"), ("x", "temperature must be of type float")):
        state["temperature"] = wrong
        with pytest.raises(ValueError, match=words):
            again.on_load_checkpoint(checkpoint)
    del state["temperature"]  # as in a checkpoint of an earlier version
    again.on_load_checkpoint(checkpoint)
    assert again.temperature == 1.0


def test_classes_named_like_metrics_and_classes_without_images(trainer):
    data, model = Data(10), classifier(10, tta="flip")
    data.labels = data.labels.clamp(max=7)  # no image of the last two classes
    model.class_names = ["tta", "top5", "accuracy", "class", *"abcd", "none", "nobody"]
    names = model.class_names
    data.class_names = list(names)
    metrics = trainer().test(model, datamodule=data, verbose=False)[0]
    answers = by_hand(model, data.images).argmax(1).numpy()
    recalls = recall_score(data.labels, answers, average=None, labels=range(8))
    assert [metrics[f"test/class_accuracy/{name}"] for name in names[:8]] == pytest.approx(list(recalls), abs=1e-6)
    assert all(math.isnan(metrics[f"test/class_accuracy/{name}"]) for name in names[8:])
    assert metrics["test/accuracy"] == pytest.approx(accuracy_score(data.labels, answers))
    augmented = model.predict_with_tta(data.images).argmax(1)
    assert metrics["test/accuracy_tta"] == pytest.approx(accuracy_score(data.labels, augmented))
    assert "test/accuracy_top5" in metrics


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_only_a_fit_loads_the_training_images(trainer, stage):
    class Missing(Data):
        @property
        def train_set(self) -> ImageExamples:
            raise FileNotFoundError("no training images here")

    model = classifier()
    silent = {} if stage == "predict" else {"verbose": False}
    assert getattr(trainer(), stage)(model, datamodule=Missing(), **silent)
    with pytest.raises(FileNotFoundError, match="no training images here"):
        trainer().fit(model, datamodule=Missing())


@pytest.mark.parametrize("missing", ["mean", "std", "input_size", "class_names"])
def test_a_fit_needs_data_that_describe_their_images(trainer, missing):
    class Undescribed(LightningDataModule):
        def __init__(self) -> None:
            super().__init__()
            described = {"mean": Data.mean, "std": Data.std, "input_size": SIZE, "class_names": None}
            vars(self).update({name: value for name, value in described.items() if name != missing})

    with pytest.raises(ValueError, match="Undescribed must have class_names, input_size, mean and std"):
        trainer().fit(classifier(), datamodule=Undescribed())


def test_without_tta_none_is_reported(trainer):
    assert "test/accuracy_tta" not in trainer().test(classifier(tta="none"), datamodule=Data(), verbose=False)[0]


def test_a_fit_learns_about_its_data_and_logs_every_epoch(trainer):
    data, model = Data(), classifier(label_smoothing=0.1)
    trained = trainer(max_epochs=2, limit_train_batches=2)
    trained.fit(model, datamodule=data)
    assert model.class_names == data.class_names
    assert model.input_size == SIZE
    torch.testing.assert_close(model.mean, torch.tensor(data.mean))
    torch.testing.assert_close(model.std, torch.tensor(data.std))
    metrics = trained.callback_metrics
    probabilities = by_hand(model, data.images, data.mean, data.std).numpy()
    labels = data.labels.numpy()
    assert metrics["val/accuracy"] == pytest.approx(accuracy_score(labels, probabilities.argmax(1)), abs=1e-6)
    assert metrics["val/loss"] == pytest.approx(-np.log(probabilities[np.arange(60), labels]).mean(), rel=1e-4)
    assert metrics["val/calibration_error"] == pytest.approx(calibration_error(probabilities, labels), abs=1e-4)
    assert {"val/accuracy_top5", "train/loss", "train/accuracy", "lr"} <= set(metrics)
    assert metrics["lr"] == pytest.approx(0.1)


def test_train_metrics_are_means_over_the_examples_of_the_epoch(trainer):
    """With a learning rate of zero and batches of 16, 16, 16 and 12, the epoch's loss is that of all 60 images."""
    data = Data()
    model = classifier(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    losses = []
    for images, labels in zip(data.images.split(16), data.labels.split(16), strict=True):
        model.mean.copy_(torch.tensor(data.mean))
        model.std.copy_(torch.tensor(data.std))
        net = model.architecture.train()
        with torch.no_grad():
            losses.append(F.cross_entropy(net(model.normalize(images)), labels, reduction="none"))
    trained = trainer(limit_val_batches=0)
    trained.fit(model, datamodule=data)
    assert trained.callback_metrics["train/loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
    assert set(model.train_sums.total().values()) == {0.0}  # the next epoch starts from zero


@pytest.mark.parametrize("classes", [3, 10])
def test_validation_metrics_names_what_validation_logs(trainer, classes):
    model = classifier(classes)
    logged = trainer().validate(model, datamodule=Data(classes), verbose=False)[0]
    assert set(model.validation_metrics()) == set(logged)


def test_an_interrupted_fit_leaves_nothing_to_the_next_one(trainer):
    model = classifier(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    model.train_sums.add(100.0, 0, 1000)
    model.val_metrics.update(torch.eye(10)[[0, 1]], torch.tensor([5, 5]))
    trained, fresh = trainer(), trainer()
    trained.fit(model, datamodule=Data())
    fresh.fit(classifier(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0)), datamodule=Data())
    assert trained.callback_metrics == fresh.callback_metrics


def test_an_interrupted_test_leaves_nothing_to_the_next_one(trainer):
    model = classifier()
    expected = trainer().test(model, datamodule=Data(), verbose=False)
    wrong = torch.eye(10)[[0, 1]], torch.tensor([5, 5])
    for metric in (model.test_metrics, model.test_class_counts, model.test_accuracy_tta):
        metric.update(*wrong)
    assert trainer().test(model, datamodule=Data(), verbose=False) == expected


def test_predictions_are_in_order(trainer):
    data, model = Data(), classifier()
    outputs = trainer().predict(model, datamodule=data)
    probabilities = torch.cat([output["probabilities"] for output in outputs])
    torch.testing.assert_close(probabilities, by_hand(model, data.images), rtol=1e-4, atol=1e-5)
    assert torch.cat([output["index"] for output in outputs]).tolist() == list(range(60))
    assert torch.equal(torch.cat([output["labels"] for output in outputs]), data.labels)


def test_one_class_trains_and_is_always_right(trainer):
    data, model = Data(1), classifier(1)
    trainer().fit(model, datamodule=data)
    metrics = trainer().test(model, datamodule=data, verbose=False)[0]
    assert metrics["test/accuracy"] == metrics["test/class_accuracy/class0"] == 1.0
    assert metrics["test/loss"] == 0.0
    assert metrics["test/calibration_error"] == 0.0
    assert torch.equal(torch.cat([p["probabilities"] for p in trainer().predict(model, data)]), torch.ones(60, 1))


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
