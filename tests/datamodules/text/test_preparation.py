"""The preparation of texts: their ids, and warnings of those that are too long."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.datamodules.text.counting import TOKENIZER, prepare, rows

TEXTS = ["say: 3 x", "", "one two"]


def test_texts_are_encoded_with_or_without_a_cache(tmp_path: Path) -> None:
    expected = [TOKENIZER.encode(text).ids for text in TEXTS]
    assert rows(prepare().encode(TEXTS, "texts")) == expected
    assert rows(prepare(cache_dir=str(tmp_path)).encode(TEXTS, "texts")) == expected
    assert len(list(tmp_path.glob("tokens-*.ids"))) == 1


def test_long_texts_are_counted_in_warnings() -> None:
    long = np.array([True, False, True])
    with pytest.warns(UserWarning, match="exceed data.max") as caught:
        prepare().report_long("val", long, ~long, "dropped")
    assert [str(warning.message) for warning in caught] == [
        "val: 2 of 3 sources exceed data.max_source_length 24 and are dropped",
        "val: 1 of 3 targets exceed data.max_target_length 16 and are dropped",
    ]


def test_nothing_too_long_is_not_worth_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare().report_long("val", np.zeros(3, bool), np.zeros(0, bool))


def test_targets_that_cannot_be_generated_whole_are_counted() -> None:
    lengths = np.array([3, 9, 10, 16, 20])
    with pytest.warns(UserWarning, match=r"^test: 3 of 5 targets exceed model.max_length 9, .*: raise it$"):
        prepare(max_generated=9).report_ungenerable("test", lengths)
    for quiet in (prepare(), prepare(max_generated=16), prepare(max_generated=15, max_target_length=15)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            quiet.report_ungenerable("test", lengths)
