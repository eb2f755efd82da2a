import json

import pytest

from callbacks.plots.reliability import Reliability


def read(folder):
    return json.loads((folder / "reliability.json").read_text())


def test_the_bins_of_a_test_hand_computed(make_trainer, tiny_data, tiny_classifier, tmp_path):
    """Batches of 4, 4 and 2 images with confidence 0.9 - 0.01 * place, all in one bin; label 1 (3 of 10) is wrong."""
    make_trainer(Reliability()).test(tiny_classifier(answers=[0, 2, 2]), tiny_data(), verbose=False)
    total = 10 * 0.9 - 0.01 * (0 + 1 + 2 + 3 + 0 + 1 + 2 + 3 + 0 + 1)
    [only] = read(tmp_path)["bins"]
    assert only == {"examples": 10, "correct": 7, "confidence": pytest.approx(total / 10, abs=1e-5)}
    assert read(tmp_path)["of"] == "test"


def test_a_fit_writes_its_newest_validation(make_trainer, tiny_data, tiny_classifier, tmp_path):
    make_trainer(Reliability(1000), max_epochs=3).fit(tiny_classifier(), tiny_data())
    assert read(tmp_path)["of"] == "validation, epoch 3"


def test_all_processes_are_summed_and_other_outputs_are_skipped(
    make_trainer, tiny_data, tiny_classifier, tmp_path, monkeypatch
):
    trainer = make_trainer(Reliability())
    monkeypatch.setattr(trainer.strategy, "reduce", lambda value, reduce_op="mean", **_: value * 2)
    trainer.validate(tiny_classifier(), tiny_data(), verbose=False)
    assert sum(each["examples"] for each in read(tmp_path)["bins"]) == 20
    (tmp_path / "reliability.json").unlink()
    model = tiny_classifier()
    model.validation_step = lambda batch, batch_idx: None
    make_trainer(Reliability()).validate(model, tiny_data(), verbose=False)
    assert not (tmp_path / "reliability.json").exists()
