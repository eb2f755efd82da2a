import json
import math

import pytest
import torch
from torchmetrics import Accuracy

from callbacks.run.test_metrics import TestMetrics, headline


def test_values_equal_torchmetrics_and_repeat(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model, data = tiny_classifier(answers=[0, 0, 2]), tiny_data()
    model.signature, model.generated = "images|v1", []
    trainer = make_trainer(TestMetrics(), max_epochs=0)
    trainer.strategy.connect(model)
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    trainer.save_checkpoint(checkpoint)

    trainer.test(model, data, ckpt_path=str(checkpoint), verbose=False)
    text = (tmp_path / "test_metrics.json").read_text()
    content = json.loads(text)

    oracle = Accuracy(task="multiclass", num_classes=3, average="micro")
    for _, labels in data.test_dataloader():
        oracle.update(model.probabilities(labels), labels)
    assert math.isclose(content["test/accuracy"], float(oracle.compute()), rel_tol=1e-6)
    assert content["test/loss"] == float(trainer.callback_metrics["test/loss"])  # not rounded
    assert content["checkpoint"] == "checkpoints/best.ckpt"
    assert content["examples"] == 10
    assert content["signature"] == "images|v1"
    assert set(content) == {"test/accuracy", "test/loss", "checkpoint", "examples", "signature"}

    trainer.test(model, data, ckpt_path=str(checkpoint), verbose=False)
    assert (tmp_path / "test_metrics.json").read_text() == text


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ({"test/accuracy": torch.tensor(0.93103), "test/loss": torch.tensor(0.2)}, "test accuracy 93.10%"),
        (
            {"test/accuracy_tta": 0.9384, "test/accuracy": 0.931},
            "test accuracy 93.10% (93.84% with test-time augmentation)",
        ),
        (
            {"test/chrf": 55.021, "test/bleu": 31.254, "test/exact_match": 0.125, "test/token_accuracy": 0.6},
            "test exact match 12.50%, BLEU 31.25, chrF 55.02",
        ),
        (
            {"test/rougeL": 30.0, "test/rouge1": 40.0, "test/rouge2": 20.0},
            "test ROUGE-1 40.00, ROUGE-2 20.00, ROUGE-L 30.00",
        ),
        ({"test/bits_per_character": 1.6684}, "test bits per character 1.668"),
        ({"val/accuracy": 0.5, "test/loss": 1.0}, ""),
    ],
)
def test_the_headline(metrics, line):
    assert headline(metrics) == line


def test_no_checkpoint_no_signature_and_nan(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model = tiny_classifier()
    model.on_test_epoch_end = lambda: model.log("test/broken", float("nan"))
    make_trainer(TestMetrics()).test(model, tiny_data(), verbose=False)
    content = json.loads((tmp_path / "test_metrics.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert content["checkpoint"] is None
    assert content["test/broken"] is None
    assert "signature" not in content


def test_a_checkpoint_elsewhere_keeps_its_path(make_trainer, tiny_data, tiny_classifier, tmp_path, tmp_path_factory):
    model = tiny_classifier()
    trainer = make_trainer(TestMetrics())
    trainer.strategy.connect(model)
    checkpoint = tmp_path_factory.mktemp("elsewhere") / "x.ckpt"
    trainer.save_checkpoint(checkpoint)
    trainer.test(model, tiny_data(), ckpt_path=str(checkpoint), verbose=False)
    assert json.loads((tmp_path / "test_metrics.json").read_text())["checkpoint"] == str(checkpoint)
