import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from reports.classes import MAX_CLASSES, confusions_of


@pytest.mark.parametrize("classes", [3, MAX_CLASSES + 1])
def test_scores_equal_sklearn(classes):
    draw = np.random.default_rng(0)
    labels, answers = draw.integers(0, classes - 1, 400), draw.integers(0, classes - 1, 400)  # the last never occurs
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, answers), 1)
    cells = [[int(i), int(j), int(counts[i, j])] for i, j in np.argwhere(counts)]
    found = confusions_of({"of": "test", "classes": [f"c{k}" for k in range(classes)], "cells": cells})
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, answers, labels=range(classes), zero_division=0
    )
    assert [each.precision or 0 for each in found.scores] == pytest.approx(precision)
    assert [each.recall or 0 for each in found.scores] == pytest.approx(recall)
    assert [each.f1 or 0 for each in found.scores] == pytest.approx(f1)
    assert [each.examples for each in found.scores] == support.tolist()
    assert found.scores[-1].recall is found.scores[-1].precision is found.scores[-1].f1 is None
    assert found.counts == (counts.tolist() if classes <= MAX_CLASSES else [])
    np.fill_diagonal(counts, 0)
    assert found.pairs[0][2] == counts.max()
    assert all(true != predicted for true, predicted, _ in found.pairs)
