import json
import math

import pytest
import torch
from torchmetrics import Accuracy

from callbacks.run.test_metrics import TestMetrics, headline
from utils.contracts import DataSource


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
    assert content["checkpoint_step"] == 0
    assert content["precision"] == "32-true"
    names = {"test/accuracy", "test/loss", "checkpoint", "checkpoint_step", "examples", "signature", "precision"}
    assert set(content) == names  # the data does not describe itself, the model has no settings

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


@pytest.fixture
def described(tiny_data, tiny_classifier):
    """Data that say what they are, and a model whose figures depend on a setting."""

    class Data(tiny_data):
        path = "data/photos"

        def test_source(self):
            return DataSource(self.path, "0123456789abcdef" * 4, self.count)

    class Model(tiny_classifier):
        views = "flip"

        def test_settings(self):
            return {"tta": self.views}

    return Data, Model


def test_the_file_names_data_and_settings(make_trainer, described, tmp_path):
    data, model = described
    make_trainer(TestMetrics()).test(model(), data(), verbose=False)
    content = json.loads((tmp_path / "test_metrics.json").read_text())
    assert (content["data"], content["data_digest"]) == ("data/photos", "0123456789abcdef" * 4)
    assert (content["examples"], content["tta"], content["precision"]) == (10, "flip", "32-true")
    assert not {"data_examples", "limit_test_batches"} & content.keys()


def test_a_limit_is_said(make_trainer, described, tmp_path):
    data, model = described
    with pytest.warns(UserWarning, match="tested on only 4 of 10 examples"):
        make_trainer(TestMetrics(), limit_test_batches=1).test(model(), data(), verbose=False)
    content = json.loads((tmp_path / "test_metrics.json").read_text())
    assert (content["examples"], content["data_examples"], content["limit_test_batches"]) == (4, 10, 1)
    assert "4 of 10 examples; data data/photos" in (tmp_path / "summary.md").read_text()


# --- the section in summary.md -------------------------------------------------------------------------------------


def sections(tmp_path):
    tests = (tmp_path / "summary.md").read_text().split("<!-- test -->")[1].split("<!-- end of test -->")[0]
    return ["## Test of " + each for each in tests.split("## Test of ")[1:]]


def test_the_section_shows_figures_by_class_and_what_was_tested(make_trainer, described, tmp_path):
    data, model = described
    module = model()
    figures = {
        "accuracy_tta": 0.875,
        "class_accuracy/tta": 0.25,
        "class_accuracy/a|b": float("nan"),
        "broken": math.nan,
    }
    module.on_test_epoch_end = lambda: module.log_dict({f"test/{name}": value for name, value in figures.items()})
    make_trainer(TestMetrics()).test(module, data(), verbose=False)
    (section,) = sections(tmp_path)
    what = "10 examples; data data/photos (sha256 0123456789ab); precision 32-true; tta flip."
    assert section.startswith(
        f"## Test of the model in memory\n\n{what}\n\n| metric | plain | test-time augmentation |"
    )
    assert "| test/accuracy | 1.0000 | 0.8750 |" in section
    assert "| test/broken | none |  |" in section
    table, per_class = section.split("<details>")
    assert "class_accuracy" not in table
    assert "| tta | 0.2500 |" in per_class
    assert "| a\\|b | none |" in per_class


def test_tests_of_other_data_checkpoints_or_settings_have_sections_of_their_own(make_trainer, described, tmp_path):
    data, model = described
    (tmp_path / "summary.md").write_text("# run\n\nbefore\n\n<!-- test --><!-- end of test -->\n\nafter\n")

    def test(path="a", tta="flip", accuracy=0.5, **limits):
        module, examples = model(), data()
        examples.path, module.views = path, tta
        module.on_test_epoch_end = lambda: module.log("test/own", accuracy)
        make_trainer(TestMetrics(), **limits).test(module, examples, verbose=False)
        return sections(tmp_path)

    first = test()
    assert len(first) == 1
    assert [each.strip() for each in test()] == [each.strip() for each in first]
    second = test(path="b")
    assert len(second) == 2
    assert "data b" in second[0]  # newest first
    assert len(test(tta="none")) == 3
    assert len(test(limit_test_batches=1)) == 4
    again = test(path="b", accuracy=0.25)
    assert len(again) == 4
    assert "| test/own | 0.2500 |" in again[0]
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("# run\n\nbefore\n\n<!-- test -->\n## Test of")
    assert text.endswith("<!-- end of test -->\n\nafter\n")


def test_a_section_of_an_earlier_version_stays(make_trainer, described, tmp_path):
    data, model = described
    old = "## Test of best.ckpt\n\n| metric | value |\n| --- | --- |\n| test/accuracy | 0.1000 |"
    (tmp_path / "summary.md").write_text(f"# run\n\n<!-- test -->\n{old}\n<!-- end of test -->\n")
    make_trainer(TestMetrics()).test(model(), data(), verbose=False)
    assert sections(tmp_path)[1].strip() == old


def test_a_test_without_a_fit_makes_its_own_summary(make_trainer, tiny_data, tiny_classifier, tmp_path):
    make_trainer(TestMetrics()).test(tiny_classifier(), tiny_data(), verbose=False)
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith(f"# {tmp_path.name}\n")
    assert "| test/accuracy | 1.0000 |" in text
