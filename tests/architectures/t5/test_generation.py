"""Tests of decoding against transformers' `generate`, and against the same model without caches and batches."""

import inspect
from dataclasses import MISSING, fields
from typing import Any

import pytest
import torch
from torch import Tensor

from architectures.t5 import generation, incremental
from architectures.t5.config import T5Config
from architectures.t5.decoding_weights import DecodingWeights
from architectures.t5.generation import generate
from architectures.t5.incremental import IncrementalDecoder
from architectures.t5.model import T5
from architectures.t5.search import Search
from tests.architectures.t5.generated import ending, rows, score_size, sources
from tests.architectures.t5.oracle import CONFIGS, SMALL, make_pair
from tests.close import assert_close


def assert_equals_transformers(ours: T5, theirs: Any, inputs: dict[str, Any], **options: Any) -> list[list[int]]:
    sequences, scores = generate(ours, **inputs, **options)
    # With its cache, transformers cannot decode if the decoder is deeper than the encoder.
    cache = ours.config.decoder_depth <= ours.config.num_layers
    expected = theirs.generate(
        **inputs, **options, do_sample=False, use_cache=cache, return_dict_in_generate=True, output_scores=True
    )
    assert rows(ours, sequences) == rows(ours, expected.sequences)
    assert sequences.shape == expected.sequences.shape
    if options.get("num_beams", 1) > 1:
        size = score_size(ours, inputs, sequences, options.get("length_penalty", 1.0))
        assert_close(scores, expected.sequences_scores, size=size)
    return rows(ours, sequences)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("num_beams", [1, 4])
def test_equals_transformers(name: str, num_beams: int) -> None:
    found = assert_equals_transformers(*make_pair(ending(name)), sources(), max_length=14, num_beams=num_beams)
    assert len({len(row) for row in found}) > 1  # some results end, others are truncated


@pytest.mark.parametrize(
    "options",
    [
        {"early_stopping": True},
        {"early_stopping": True, "length_penalty": 2.0, "num_return_sequences": 4},
        {"length_penalty": 0.0, "num_return_sequences": 3},
        {"length_penalty": 2.5},
        {"length_penalty": -1.0},
        {"num_return_sequences": 2},
        {"num_beams": 2, "min_length": 7, "num_return_sequences": 2},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2, "early_stopping": True},
        {"no_repeat_ngram_size": 3, "min_length": 5},
        {"num_beams": 1, "no_repeat_ngram_size": 2, "min_length": 9},
        {"num_beams": 7, "max_length": 2, "num_return_sequences": 7},
        {"num_beams": 3, "max_length": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["tied", "untied-scaled"])
def test_options_equal_transformers(name: str, options: dict[str, Any]) -> None:
    assert_equals_transformers(*make_pair(ending(name)), sources(32), **{"max_length": 12, "num_beams": 4} | options)


def test_places_without_a_hypothesis_have_no_score() -> None:
    """Nine tokens are nine results of one token; for three more places there is none."""
    model = T5(T5Config(**SMALL | {"vocab_size": 9})).eval()
    ids = torch.tensor([[3, 4, 5, 1]])
    found, scores = generate(model, ids, torch.ones_like(ids), max_length=2, num_beams=12, num_return_sequences=12)
    assert sorted(found[:9, 1].tolist()) == list(range(9))
    assert scores.isfinite().tolist() == [True] * 9 + [False] * 3
    assert (found[9:, 1:] == model.config.pad_token_id).all()


@torch.no_grad()
def test_a_strong_penalty_leaves_the_scores_of_results() -> None:
    model, _ = make_pair(ending("tied"))
    inputs, penalty = sources(4), -6.0
    found, scores = generate(model, **inputs, max_length=60, num_beams=3, min_length=50, length_penalty=penalty)
    assert (scores < -1e9).all()  # lower than any score without a penalty
    log_p = model(**inputs, decoder_input_ids=found[:, :-1]).log_softmax(-1).gather(2, found[:, 1:, None])[..., 0]
    sizes = torch.tensor([len(row) for row in rows(model, found)])
    sums = torch.stack([each[:size].sum() for each, size in zip(log_p, sizes.tolist(), strict=True)])
    torch.testing.assert_close(scores, sums / sizes**penalty, rtol=1e-3, atol=0)


@torch.no_grad()
def test_greedy_equals_the_model_without_caches() -> None:
    model, _ = make_pair(ending("decoder-deeper"))
    inputs = sources(8)
    sequences, scores = generate(model, **inputs, max_length=10)
    size = score_size(model, inputs, sequences)
    for row, score, ids, mask in zip(rows(model, sequences), scores, *inputs.values(), strict=True):
        written, total = [0], 0.0
        while written[-1] != model.config.eos_token_id and len(written) < 10:
            logits = model(ids[None], mask[None], torch.tensor([written]))[0, -1]
            written.append(int(logits.argmax()))
            total += float(logits.log_softmax(-1).max())
        assert row == written[1:]
        assert_close(score, total / len(row), size=size)


@pytest.mark.parametrize("options", [{}, {"num_beams": 4, "num_return_sequences": 2}], ids=["greedy", "beam"])
@pytest.mark.parametrize("together", [1, 3, 1000])
def test_a_result_does_not_depend_on_the_other_sources(
    options: dict[str, Any], together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = make_pair(ending("tied"))
    inputs = sources(24)
    beams = options.get("num_beams", 1)
    monkeypatch.setattr(generation, "TOKENS_AT_ONCE", together * beams * 12)
    sequences, scores = generate(model, **inputs, max_length=12, **options)
    size = score_size(model, inputs, sequences)
    for i, (ids, mask) in enumerate(zip(*inputs.values(), strict=True)):
        length = int(mask.sum())
        alone, score = generate(model, ids[None, :length], mask[None, :length], max_length=12, **options)
        returned = slice(i * len(alone), (i + 1) * len(alone))
        assert rows(model, alone) == rows(model, sequences[returned])
        assert_close(score, scores[returned], size=size)


@torch.no_grad()
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_scores_equal_those_of_the_model(length_penalty: float) -> None:
    """A score must be the sum of log-probabilities of the complete result, divided by length**length_penalty."""
    model, _ = make_pair(ending("untied-gated"))
    inputs = sources(16)
    sampling: dict[str, Any] = {"do_sample": True, "top_k": 5, "temperature": 2.0, "seed": 0}
    for options in ({"num_beams": 3}, sampling):
        results = generate(model, **inputs, max_length=12, length_penalty=length_penalty, **options)
        size = score_size(model, inputs, results[0], length_penalty)
        for row, score, ids, mask in zip(rows(model, results[0]), results[1], *inputs.values(), strict=True):
            log_p = model(ids[None], mask[None], torch.tensor([[0, *row[:-1]]]))[0].log_softmax(-1)
            total = log_p.gather(1, torch.tensor(row)[:, None]).sum()
            assert_close(score, total / len(row) ** length_penalty, size=size)


def test_padding_before_and_between_tokens_changes_nothing() -> None:
    model, _ = make_pair(ending("tied"))
    ids, mask = torch.tensor([[0, 0, 5, 0, 9, 1, 0]]), torch.tensor([[0, 0, 1, 0, 1, 1, 0]])
    logits = model(ids, mask, torch.tensor([[0]]))[0, -1]
    expected = logits.log_softmax(-1)
    other = ids.masked_fill(mask == 0, 7)
    for source in (ids, other):
        sequences, scores = generate(model, source, mask, max_length=2)
        assert sequences[0, 1] == expected.argmax()
        assert_close(scores[0], expected.max(), size=logits.abs().max())


def test_empty_batch_and_source_of_padding() -> None:
    model, _ = make_pair(ending("tied"))
    inputs = sources(3)
    inputs["attention_mask"][1] = 0
    sequences, scores = generate(model, **inputs, max_length=8, num_beams=2)
    assert scores.isfinite().all() and len(sequences) == 3
    sequences, scores = generate(model, **{k: v[:0] for k, v in inputs.items()}, max_length=8, num_beams=2)
    assert len(sequences) == len(scores) == 0


class Calls:
    """Recorder of the shapes of a method's first argument, one per call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.shapes: list[tuple[int, ...]] = []
        method = getattr(owner, name)

        def recorded(itself: Any, first: Tensor, *others: Any) -> Any:
            self.shapes.append(tuple(first.shape))
            return method(itself, first, *others)

        monkeypatch.setattr(owner, name, recorded)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_sources_are_encoded_once_and_finished_rows_dropped(num_beams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_pair(ending("tied"))
    encoded = Calls(monkeypatch, DecodingWeights, "encode")
    projected = Calls(monkeypatch, DecodingWeights, "memory_keys_and_values")
    steps = Calls(monkeypatch, IncrementalDecoder, "step")
    inputs = sources(32)
    sequences, _ = generate(model, **inputs, max_length=15, num_beams=num_beams, early_stopping=True)
    assert encoded.shapes == [(32, 16)]  # 13 tokens, rounded up
    assert projected.shapes == [(32, 16, 16)]  # once per source, not per beam and step
    sizes = [shape[0] for shape in steps.shapes]
    if num_beams == 1:
        running = [sum(len(row) > t for row in rows(model, sequences)) for t in range(14)]
        assert sizes == [n for n in running if n] and running[-1] < 32
    else:
        assert sizes[0] == 32 and sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 4, "num_return_sequences": 4},
        {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0},
        {"do_sample": True, "num_return_sequences": 3, "seed": 0},
    ],
    ids=str,
)
def test_looking_less_often_for_finished_sources_changes_nothing(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a finished source stays for some steps; what it finds in them must not count."""
    model, _ = make_pair(ending("tied"))
    expected = generate(model, **sources(32), max_length=15, **options)
    size = score_size(model, sources(32), expected[0], options.get("length_penalty", 1.0))
    for steps in (4, 100):
        monkeypatch.setattr(incremental, "steps_between_looks", lambda device, steps=steps: steps)
        found = generate(model, **sources(32), max_length=15, **options)
        assert torch.equal(found[0], expected[0])
        assert_close(found[1], expected[1], size=size)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 4}, {"do_sample": True, "num_return_sequences": 2, "seed": 0}], ids=str
)
def test_the_default_dtype_changes_nothing(options: dict[str, Any]) -> None:
    """Lightning sets it to bfloat16 in a step of a model whose weights are."""
    model, _ = make_pair(ending("tied"))
    sequences, scores = generate(model, **sources(16), max_length=15, **options)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found, found_scores = generate(model, **sources(16), max_length=15, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, sequences)
    assert found_scores.dtype == torch.float32 and torch.equal(found_scores, scores)


def test_bfloat16_decodes_as_the_model_without_caches() -> None:
    model, _ = make_pair(ending("tied"))
    inputs = sources(16)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        sequences, scores = generate(model, **inputs, max_length=8, num_beams=2)
        size = score_size(model, inputs, sequences)
        for row, score, ids, mask in zip(rows(model, sequences), scores, *inputs.values(), strict=True):
            log_p = model(ids[None], mask[None], torch.tensor([[0, *row[:-1]]]))[0].float().log_softmax(-1)
            total = log_p.gather(1, torch.tensor(row)[:, None]).sum()
            assert_close(score, total / len(row), units=2, size=size, dtype=torch.bfloat16)
    assert generate(model.bfloat16(), **inputs, max_length=8)[1].dtype == torch.float32


def test_mode_is_restored_and_dropout_is_off() -> None:
    config = T5Config(**SMALL | {"dropout_rate": 0.5})
    model, _ = make_pair(config)
    expected = generate(model, **sources(8), max_length=10, num_beams=2)
    found = generate(model.train(), **sources(8), max_length=10, num_beams=2)
    assert model.training and all(module.training for module in model.modules())
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert not found[1].requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 1}, "max_length must be an integer of at least 2, got 1"),
        ({"num_beams": 0}, "num_beams must be an integer of at least 1, got 0"),
        ({"num_return_sequences": 2}, "num_return_sequences must be at most num_beams, 1, .*got 2"),
        ({"min_length": 9}, "min_length must be at most max_length, 8, got 9"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be an integer of at least 0, got -1"),
        ({"early_stopping": "never"}, "early_stopping must be one of True, False, got 'never'"),
        ({"top_k": 5}, "top_k, top_p and temperature must be 0, 1 and 1 if do_sample is false, got 5"),
        ({"do_sample": True, "num_beams": 2}, "num_beams must be 1 if do_sample is true, got 2"),
        ({"do_sample": True, "top_p": 1.5}, "top_p must be a number above 0 and at most 1, got 1.5"),
        ({"do_sample": True, "temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
        ({"length_penalty": float("nan")}, "length_penalty must be a number from -10 to 10, got nan"),
        ({"length_penalty": 400}, "length_penalty must be a number from -10 to 10, got 400"),
        ({"length_penalty": "1"}, "length_penalty must be a number from -10 to 10, got '1'"),
    ],
)
def test_errors_name_invalid_options(options: dict[str, Any], message: str) -> None:
    options = {"max_length": 8} | options
    with pytest.raises(ValueError, match=message):
        Search(**options)
    with pytest.raises(ValueError, match=message):
        generate(T5(CONFIGS["tied"]), **sources(2), **options)


def test_unknown_options_are_rejected() -> None:
    with pytest.raises(TypeError, match="beams"):
        Search(max_length=8, beams=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="beams"):
        generate(T5(CONFIGS["tied"]), **sources(2), max_length=8, beams=4)  # type: ignore[call-arg]


def test_generate_takes_every_option_of_search_with_its_default() -> None:
    keywords = {name: value.default for name, value in inspect.signature(generate).parameters.items()}
    options = {field.name: field.default for field in fields(Search)}
    assert options.pop("max_length") is MISSING and keywords["max_length"] is inspect.Parameter.empty
    assert options.items() <= keywords.items()
