"""The figures of a test in the terminal."""

import math

from callbacks.run.test_table import table_of_test


def test_all_metrics_with_their_units_and_classes_in_natural_order():
    metrics = {
        "test/loss": 0.54932,
        "test/accuracy": 0.97222,
        "test/accuracy_tta": 0.98,
        "val/accuracy": 0.5,
        "test/class_accuracy/10": 1.0,
        "test/class_accuracy/2": 0.5,
        "test/class_accuracy/1": math.nan,
    }
    assert table_of_test(metrics) == [
        "  loss                 0.5493",
        "  accuracy             97.22%",
        "  accuracy, augmented  98.00%",
        "",
        "  class                accuracy",
        "  1                    no images",
        "  2                    50.00%",
        "  10                   100.00%",
    ]


def test_more_than_twenty_classes_are_not_listed():
    classes = {f"test/class_accuracy/{k}": 0.5 for k in range(21)}
    assert table_of_test({"test/accuracy": 0.5, **classes}) == ["  accuracy  50.00%"]
    classes.popitem()
    assert len(table_of_test({"test/accuracy": 0.5, **classes})) == 23


def test_text():
    assert table_of_test({"test/bleu": 38.774, "test/token_accuracy": 0.612345}) == [
        "  BLEU            38.77",
        "  token accuracy  61.23%",
    ]


def test_names_cannot_break_the_table():
    (_, _, _, row) = table_of_test({"test/loss": 1.0, "test/class_accuracy/a\nb" + "c" * 100: 0.5})
    assert row.endswith("  50.00%")
    assert len(row) < 60
