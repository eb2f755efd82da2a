"""What counts as an example of a batch, and which outputs of a step callbacks may read."""

import dataclasses
from typing import Any

import pytest
import torch

from utils.batches import (
    IGNORED,
    CharBatch,
    Classified,
    GeneratedText,
    Hypotheses,
    ImageBatch,
    ImagePredictionBatch,
    PromptBatch,
    RawImageBatch,
    Seq2SeqBatch,
    count_examples,
    is_classified,
    is_hypotheses,
)

IMAGES, LABELS, IDS = torch.zeros(7, 3, 4, 4), torch.zeros(7, dtype=torch.long), torch.zeros(7, 5, dtype=torch.long)


@dataclasses.dataclass
class Pair:
    name: str
    images: torch.Tensor


@pytest.mark.parametrize(
    "batch",
    [
        RawImageBatch(IMAGES, LABELS, LABELS.numpy(), epoch=3, step=2),
        ImageBatch(IMAGES, torch.zeros(7, 10)),
        ImagePredictionBatch(IMAGES, LABELS, LABELS),
        Seq2SeqBatch(IDS, IDS.bool(), IDS, LABELS, ["a"] * 7, [("b",)] * 7, 20),
        CharBatch(IDS, IDS),
        IMAGES,
        [[IMAGES, LABELS], "x"],
        {"name": "x", "number": torch.tensor(3), "tokens": LABELS},
        Pair("x", IMAGES),
        (Pair("x", IMAGES), torch.zeros(2)),
        [None, 4, {"deep": [{"deeper": IMAGES}]}],
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_the_first_tensor_with_a_dimension_counts_the_examples(batch):
    assert count_examples(batch) == 7


def test_a_prompt_is_one_example():
    assert count_examples(PromptBatch(torch.zeros(1, 12), torch.tensor([3]))) == 1


@pytest.mark.parametrize(
    "batch", [None, "text", b"bytes", 3, torch.tensor(3), [], {}, ["a", None], Pair, torch.zeros(0)]
)
def test_without_such_a_tensor_there_are_none(batch):
    assert count_examples(batch) == 0


def test_outputs_are_recognised_by_the_keys_that_every_step_returns():
    classified: Classified = {"probabilities": torch.ones(7, 1), "labels": LABELS}
    hypotheses: Hypotheses = {"index": LABELS, "hypotheses": ["a"] * 7}
    assert is_classified(classified)
    assert is_classified({**classified, "loss": torch.tensor(1.0), "more": 3})
    assert is_hypotheses(hypotheses)
    others: list[Any] = [None, torch.tensor(1.0), [], {}, "probabilities labels index hypotheses"]
    for outputs in [*others, hypotheses, {"probabilities": torch.ones(7, 1)}, {"labels": LABELS}]:
        assert not is_classified(outputs)
    for outputs in [*others, classified, {"hypotheses": ["a"]}, {"index": LABELS}]:
        assert not is_hypotheses(outputs)


def test_ignored_labels_are_those_that_torchs_loss_ignores():
    logits, labels = torch.randn(3, 5), torch.tensor([1, IGNORED, 2])
    scored = torch.nn.functional.cross_entropy(logits, labels)
    assert torch.equal(scored, torch.nn.functional.cross_entropy(logits[[0, 2]], labels[[0, 2]]))


def test_generated_texts_have_no_score_unless_it_is_given():
    assert GeneratedText(3, "source", ("reference",), "hypothesis").score is None
