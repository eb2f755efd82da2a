"""Knowledge distillation against its formula by hand, and a teacher that stays as it is and in no checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightning_modules.distillation import distillation_loss
from tests.close import assert_close
from tests.lightning_modules.image_fakes import Data, classifier


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_the_loss_is_that_of_the_paper() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(size=(2, 5, 4))
    p, q = softmax(theirs / 3), softmax(ours / 3)
    expected = 9 * (p * np.log(p / q)).sum(1).mean()
    assert_close(distillation_loss(torch.tensor(ours), torch.tensor(theirs), 3.0), expected, dtype=torch.float32)


@pytest.fixture
def teacher(trainer: Any, tmp_path: Path) -> str:
    """A checkpoint of one step, as a file of a trained run."""
    model, data = classifier(), Data()
    trained = trainer(max_steps=1, limit_val_batches=0)
    trained.fit(model, datamodule=data)
    trained.save_checkpoint(tmp_path / "teacher.ckpt")
    return str(tmp_path / "teacher.ckpt")


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of these tests name a network of a test, which only their maker may trust."""
    from lightning_modules.image_classifier import ImageClassifier

    load = ImageClassifier.load_from_checkpoint.__func__  # type: ignore[attr-defined]
    trusting = classmethod(lambda cls, path: load(cls, path, trust_checkpoint=True))
    monkeypatch.setattr(ImageClassifier, "load_from_checkpoint", trusting)


def test_a_training_step_blends_labels_and_teacher(teacher: str, trainer: Any) -> None:
    data = Data()
    model = classifier(teacher=teacher, teacher_weight=0.25, teacher_temperature=2.0)
    trainer(max_steps=1, limit_val_batches=0).fit(model, datamodule=data)
    assert model._teacher is not None
    model.trainer.accumulate_grad_batches = 1
    images, labels = data.images[:16], data.labels[:16]
    loss = model.training_step((images, labels), 0)  # type: ignore[arg-type]
    with torch.no_grad():
        logits, theirs = model(images), model._teacher.module(images)
        expected = 0.75 * F.cross_entropy(logits, labels) + 0.25 * distillation_loss(logits, theirs, 2.0)
    assert_close(loss, expected)


def test_the_teacher_is_frozen_and_in_no_checkpoint(teacher: str, trainer: Any, tmp_path: Path) -> None:
    before = torch.load(teacher, weights_only=False)["state_dict"]
    model = classifier(teacher=teacher)
    trained = trainer(max_steps=3, limit_val_batches=0)
    trained.fit(model, datamodule=Data())
    assert model._teacher is not None
    assert not model._teacher.module.training
    assert model.training is True or model.architecture.training
    after = model._teacher.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    trained.save_checkpoint(tmp_path / "student.ckpt")
    content = torch.load(tmp_path / "student.ckpt", weights_only=False)
    assert list(content["state_dict"]) == list(before)
    assert sum(len(group["params"]) for group in content["optimizer_states"][0]["param_groups"]) == len(
        list(model.architecture.parameters())
    )


def test_a_taught_training_resumes_bit_for_bit(teacher: str, trainer: Any, tmp_path: Path) -> None:
    whole = classifier(teacher=teacher)
    trainer(max_epochs=2, limit_val_batches=0).fit(whole, datamodule=Data())
    first = trainer(limit_val_batches=0)
    first.fit(classifier(teacher=teacher), datamodule=Data())
    first.save_checkpoint(tmp_path / "half.ckpt")
    second = classifier(teacher=teacher)
    trainer(max_epochs=2, limit_val_batches=0).fit(
        second, datamodule=Data(), ckpt_path=tmp_path / "half.ckpt", weights_only=False
    )
    untaught = classifier()
    trainer(max_epochs=2, limit_val_batches=0).fit(untaught, datamodule=Data())
    pairs = zip(whole.architecture.parameters(), second.architecture.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.equal(whole.architecture.fc.weight, untaught.architecture.fc.weight)  # type: ignore


def test_a_teacher_that_does_not_fit_is_refused(teacher: str, trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model.teacher: no such file: .*none.ckpt; specify a checkpoint"):
        trainer().fit(classifier(teacher=str(tmp_path / "none.ckpt")), datamodule=Data())
    with pytest.raises(ValueError, match="was trained on classes other than"):
        trainer().fit(classifier(12, teacher=teacher), datamodule=Data(12))
    larger = Data()
    larger.input_size = 16
    with pytest.raises(ValueError, match=r"images of 8 pixels, but these have 16: pass --data.image_size 8"):
        trainer().fit(classifier(teacher=teacher), datamodule=larger)
    with pytest.raises(ValueError, match="teacher_weight"):
        classifier(teacher_weight=1.5)
    with pytest.raises(ValueError, match="teacher_temperature"):
        classifier(teacher_temperature=0.0)
