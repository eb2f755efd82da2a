"""The metrics of the image classifier in training, validation and test, against scikit-learn and formulas."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from sklearn.metrics import accuracy_score, recall_score, top_k_accuracy_score
from torch.nn import functional as F

from tests.close import assert_close
from tests.lightning_modules.image_fakes import SIZE, Data, by_hand, classifier
from utils.contracts import ImageExamples


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, over 15 bins of equal width."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return error


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
