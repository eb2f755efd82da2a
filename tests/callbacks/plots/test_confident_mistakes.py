import base64
import io
import json
import sys

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from callbacks.plots.confident_mistakes import ConfidentMistakes, Mistakes, draw, errors_of, most_confident
from callbacks.plots.pictures import png


def test_the_most_confident_errors_over_batches_equal_a_sort_of_all():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(60, 5, generator=generator).softmax(1)
    labels = torch.randint(0, 5, (60,), generator=generator)
    images = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1).expand(60, 3, 2, 2)
    parts: list[Mistakes] = []
    for number, part in enumerate(torch.arange(60).split(7)):
        parts = [most_confident([*parts, errors_of(probabilities[part], labels[part], images[part], number)], 6)]
        assert len(parts[0].confidence) <= 6
    [kept] = parts
    wrong = [
        (float(row.max()), position)
        for position, (row, label) in enumerate(zip(probabilities, labels, strict=True))
        if int(row.argmax()) != int(label)
    ]
    best = [position for _, position in sorted(wrong, reverse=True)[:6]]
    assert kept.images[:, 0, 0, 0].tolist() == best
    assert kept.labels.tolist() == labels[best].tolist()
    assert kept.predicted.tolist() == probabilities[best].argmax(1).tolist()


def test_equally_confident_errors_come_in_the_order_of_the_data():
    """As often with confidence 1.0, and whichever process had which batch."""
    sure, unsure = [0.0, 1.0], [0.2, 0.8]
    batches = [
        errors_of(torch.tensor(rows), torch.zeros(3).long(), torch.zeros(3, 3, 2, 2).byte(), number)
        for number, rows in enumerate([[unsure, sure, sure], [sure, unsure, sure]])
    ]
    for parts in (batches, batches[::-1]):
        kept = most_confident(parts, 5)
        assert kept.places.tolist() == [1, 2, 1 << 32, (1 << 32) + 2, 0]


def test_an_evaluation_draws_the_count_most_confident(make_trainer, tiny_data, tiny_classifier, tmp_path):
    """Label 1 is always predicted as 2: images 1, 4, 7 at places 1, 0, 3 of their batches, with 0.89, 0.9, 0.87."""
    drawn = []

    class Recording(ConfidentMistakes):
        def figure(self, collected, class_names, title):
            drawn.append((collected, class_names, title))
            return super().figure(collected, class_names, title)

    model = tiny_classifier(answers=[0, 2, 2], class_names=["ant", "bee", "cow"])
    trainer = make_trainer(Recording(count=2))
    trainer.test(tiny_classifier(answers=[1, 1, 1]), tiny_data(), verbose=False)  # others, which are forgotten
    trainer.test(model, tiny_data(), verbose=False)
    (mistakes, _, _), names, title = drawn[1]
    torch.testing.assert_close(mistakes.confidence, torch.tensor([0.9, 0.89]))
    assert mistakes.labels.tolist() == [1, 1]
    assert mistakes.predicted.tolist() == [2, 2]
    assert (mistakes.images == 20).all()
    assert mistakes.images.shape == (2, 3, 8, 8)
    assert names == ["ant", "bee", "cow"]
    assert title == "test"
    assert imread(tmp_path / "mistakes.png").shape[0] > 100
    data = json.loads((tmp_path / "mistakes.json").read_text())
    images = [each.pop("image") for each in data["mistakes"]]
    assert data["mistakes"] == [{"true": "bee", "predicted": "cow", "confidence": each} for each in (0.9, 0.89)]
    assert all((pixels(image) == 20).all() for image in images)


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))


def test_images_for_the_report_are_small_and_those_of_cifar_exact():
    draw = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (3, 32, 32), generator=draw, dtype=torch.uint8)
    assert (pixels(png(small)) == small.permute(1, 2, 0).numpy()).all()
    assert pixels(png(torch.zeros(3, 300, 600, dtype=torch.uint8))).shape == (80, 160, 3)


def test_without_captum_the_report_learns_how_to_get_it(
    make_trainer, tiny_data, tiny_classifier, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    make_trainer(ConfidentMistakes()).test(tiny_classifier(answers=[0, 2, 2]), tiny_data(), verbose=False)
    data = json.loads((tmp_path / "mistakes.json").read_text())
    assert data["no_heat"] == "they need Captum: pip install 'one-for-all[report]', and test again"
    assert data["heat_stage"] is None
    assert not any("heat" in each for each in data["mistakes"])


def test_each_error_has_its_classes_and_probability():
    kept = Mistakes(
        torch.tensor([0.9, 0.89, -1.0]),
        torch.tensor([2, 2, 0]),
        torch.tensor([1, 1, 0]),
        torch.zeros(3, 3, 8, 8).byte(),
        torch.arange(3),
    )
    figure = draw(kept, ["ant", "bee", "cow"], "test")
    assert [axes.get_title() for axes in figure.axes] == ["bee →\ncow  90.0%", "bee →\ncow  89.0%"]
    assert figure.get_suptitle() == "Most confident errors (test)"
    nothing = draw(Mistakes(*(part[2:] for part in kept)), None, "test")
    assert nothing.axes == []
    assert nothing.get_suptitle() == "No errors (test)"


def test_other_outputs_are_skipped(make_trainer, tiny_data, tiny_classifier, tmp_path):
    class WithoutImages(tiny_classifier):
        def validation_step(self, batch, batch_idx):
            outputs = super().validation_step(batch, batch_idx)
            return {name: value for name, value in outputs.items() if name != "images"}

        def test_step(self, batch, batch_idx):
            return torch.tensor(1.0)

    trainer = make_trainer(ConfidentMistakes())
    trainer.validate(WithoutImages(answers=[1, 2, 0]), tiny_data(), verbose=False)
    trainer.test(WithoutImages(answers=[1, 2, 0]), tiny_data(), verbose=False)
    assert list(tmp_path.glob("*.png")) == []


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="count must be an integer of at least 1, got 0"):
        ConfidentMistakes(count=0)
