import csv

import pytest
import torch

from callbacks.predictions.image_predictions import Predictions


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_in_order_with_names_that_csv_must_quote(make_trainer, tiny_data, tiny_classifier, tmp_path):
    names = ["cat, wild", 'a "dog"', "c"]
    model, data = tiny_classifier(answers=[0, 2, 2], class_names=names), tiny_data(batch_size=3)
    data.class_names = names
    data.predict_path = "photos"
    data.predict_names = [f"photos/{index}, é.png" for index in range(10)]
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1)).tolist()  # batches come in any order
    loader = data.predict_dataloader()
    data.predict_dataloader = lambda: torch.utils.data.DataLoader(loader.dataset, batch_size=3, sampler=order)
    make_trainer(Predictions()).predict(model, data)

    rows = read(tmp_path / "predictions.csv")
    assert list(rows[0]) == ["path", "label", "predicted", "p_cat, wild", 'p_a "dog"', "p_c"]
    assert [row["path"] for row in rows] == data.predict_names
    assert [row["label"] for row in rows] == [names[index % 3] for index in range(10)]
    assert [row["predicted"] for row in rows] == [names[[0, 2, 2][index % 3]] for index in range(10)]
    for index, row in enumerate(rows):  # the first of a batch of three has 0.90, the next 0.89, 0.88
        top = 0.9 - 0.01 * (order.index(index) % 3)
        expected = torch.full((3,), (1 - top) / 2)
        expected[[0, 2, 2][index % 3]] = top
        given = torch.tensor([float(row[column]) for column in list(row)[3:]])
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-7)


def test_unknown_labels_and_classes(make_trainer, tiny_data, tiny_classifier, tmp_path):
    data = tiny_data(known=False)
    output = tmp_path / "elsewhere" / "out.csv"
    make_trainer(Predictions(output)).predict(tiny_classifier(class_names=None), data)
    rows = read(output)
    assert list(rows[0]) == ["index", "predicted", "p_0", "p_1", "p_2"]
    assert [row["index"] for row in rows] == [str(index) for index in range(10)]
    assert [row["predicted"] for row in rows] == [str(index % 3) for index in range(10)]
    assert not (tmp_path / "predictions.csv").exists()


def test_labels_are_named_by_the_data_and_may_be_partly_unknown(make_trainer, tiny_data, tiny_classifier, tmp_path):
    data = tiny_data(count=3)
    data.class_names = ["x", "y", "z"]
    loader = data.predict_dataloader()
    loader.dataset.labels[1] = -1
    data.predict_dataloader = lambda: loader
    make_trainer(Predictions()).predict(tiny_classifier(class_names=["a", "b", "c"]), data)
    rows = read(tmp_path / "predictions.csv")
    assert [row["label"] for row in rows] == ["x", "", "z"]
    assert [row["predicted"] for row in rows] == ["a", "b", "c"]


def test_labels_in_another_order_than_the_data_s_classes(make_trainer, tiny_data, tiny_classifier, tmp_path):
    """Images labelled by the model's classes, beside a data set that numbers its own classes otherwise."""
    data = tiny_data(count=3)
    data.class_names, data.predict_classes = ["c", "a", "b"], ["a", "b", "c"]
    make_trainer(Predictions()).predict(tiny_classifier(class_names=["a", "b", "c"]), data)
    rows = read(tmp_path / "predictions.csv")
    assert [row["label"] for row in rows] == [row["predicted"] for row in rows] == ["a", "b", "c"]


def test_the_training_images_are_not_asked_for(make_trainer, tiny_data, tiny_classifier, tmp_path):
    """They may not be on the machine that predicts."""

    class Elsewhere(tiny_data):
        @property
        def train_set(self):
            raise FileNotFoundError("no training images here")

    make_trainer(Predictions()).predict(tiny_classifier(), Elsewhere())
    assert len(read(tmp_path / "predictions.csv")) == 10


@pytest.mark.parametrize("datamodule", [True, False])
def test_a_module_and_loader_of_another_kind(make_trainer, tiny_data, tiny_classifier, tmp_path, datamodule):
    """Without a datamodule, or without class names, rows and classes have their numbers."""
    data = tiny_data(count=3)
    data.class_names = None
    loader = data.predict_dataloader()
    data = {"datamodule": data} if datamodule else {"dataloaders": loader}
    make_trainer(Predictions()).predict(tiny_classifier(), **data)
    rows = read(tmp_path / "predictions.csv")
    assert [(row["index"], row["label"], row["predicted"]) for row in rows] == [(str(k),) * 3 for k in range(3)]


def test_outputs_of_another_kind_write_nothing(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model = tiny_classifier()
    model.predict_step = lambda batch, batch_idx: ["a sentence"]
    make_trainer(Predictions()).predict(model, tiny_data())
    assert list(tmp_path.glob("*.csv")) == []


def test_files_that_cannot_be_read_keep_their_row(make_trainer, tiny_data, tiny_classifier, tmp_path):
    data = tiny_data(count=3)
    data.predict_path = "photos"
    data.predict_names = ["0.png", "caf\udce9.png", "2.png", "3.png"]
    data.predict_errors = {1: "caf.png cannot be read, at all"}
    loader = data.predict_dataloader()
    items = [loader.dataset[index] for index in range(3)]
    places = [0, 2, 3]
    moved = [(image, label, torch.tensor(place)) for (image, label, _), place in zip(items, places, strict=True)]
    data.predict_dataloader = lambda: torch.utils.data.DataLoader(moved, batch_size=2)
    with pytest.warns(UserWarning, match=r"1 of 4 images cannot be read and have no prediction.*: caf\\xe9.png$"):
        make_trainer(Predictions()).predict(tiny_classifier(class_names=["a", "b", "c"]), data)
    rows = read(tmp_path / "predictions.csv")
    assert [row["path"] for row in rows] == ["0.png", r"caf\xe9.png", "2.png", "3.png"]
    assert [row["error"] for row in rows] == ["", "caf.png cannot be read, at all", "", ""]
    assert [row["predicted"] for row in rows] == ["a", "", "c", "a"]
    assert [row["p_a"] == "" for row in rows] == [False, True, False, False]
    assert list(rows[0])[-1] == "error"
