"""Texts generated in validation, test and prediction, against those generated for each source alone."""

import copy
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from architectures.t5.generation import generate
from architectures.t5.model import T5
from callbacks.weight_averaging import EMA
from lightning_modules.text_metrics import score_texts
from tests.lightning_modules.text_fakes import (
    WORDS,
    Data,
    mean_loss,
    network,
    seq2seq,
    sgd,
    talkative,
    token_accuracy,
    word_tokenizer,
)


def by_hand(net: T5, data: Data, **search: Any) -> list[str]:
    """Return the text generated for each source alone."""
    texts = []
    for source, _ in data.pairs:
        ids = torch.tensor([data.tokenizer.encode(source).ids])
        sequences, _ = generate(net, ids, torch.ones_like(ids), max_length=13, **search)
        texts.append(" ".join(WORDS[k] for k in sequences[0].tolist() if k > 1))
    return texts


def test_validation_is_greedy_for_its_first_examples_and_test_uses_beams_for_all(trainer):
    data, net = Data(count=12, batch_size=5), talkative()
    model = seq2seq(net, validation_examples=7, num_beams=3, length_penalty=0.5, scores=["bleu", "exact_match"])
    loss, accuracy = mean_loss(net, data.whole()).item(), token_accuracy(net, data)
    greedy = by_hand(net, data)[:7]
    beams = by_hand(net, data, num_beams=3, length_penalty=0.5)
    assert greedy != beams[:7]
    assert len(set(greedy)) > 2

    metrics = trainer(limit_val_batches=1.0).validate(model, datamodule=data, verbose=False)[0]
    assert [text.hypothesis for text in model.generated] == greedy
    assert [text.index for text in model.generated] == list(range(7))
    assert [(text.source, text.references) for text in model.generated] == [(s, (t,)) for s, t in data.pairs[:7]]
    scores = score_texts(greedy, [(target,) for _, target in data.pairs[:7]], ["bleu", "exact_match"])
    expected = {"val/loss": loss, "val/token_accuracy": accuracy, **{f"val/{k}": v for k, v in scores.items()}}
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert set(model.validation_metrics()) == set(metrics)

    metrics = trainer().test(model, datamodule=data, verbose=False)[0]
    assert [text.hypothesis for text in model.generated] == beams
    scores = score_texts(beams, [(target,) for _, target in data.pairs], ["bleu", "exact_match"])
    assert metrics == pytest.approx(
        {"test/loss": loss, "test/token_accuracy": accuracy, **{f"test/{k}": v for k, v in scores.items()}},
        rel=1e-5,
        abs=1e-6,
    )
    assert model.signature is not None
    assert "tok:13a" in model.signature

    outputs = trainer().predict(model, datamodule=data)
    assert [text for output in outputs for text in output["hypotheses"]] == beams
    assert torch.cat([output["index"] for output in outputs]).tolist() == list(range(12))


@pytest.mark.parametrize("trained_in", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("decode_precision", ["auto", "fp32", "bf16"])
def test_text_is_generated_in_the_decode_precision(trainer, trained_in, decode_precision):
    data, net = Data(count=6, batch_size=6), talkative()
    model = seq2seq(net, decode_precision=decode_precision)
    trainer(precision=trained_in, limit_val_batches=1.0).validate(model, datamodule=data, verbose=False)
    low = decode_precision == "bf16" or (decode_precision, trained_in) == ("auto", "bf16-mixed")
    scores = []
    for enabled in (False, True):
        batch = data.whole()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            scores.append(generate(net, batch.input_ids, batch.attention_mask, max_length=13)[1].tolist())
    assert scores[0] != pytest.approx(scores[1], rel=1e-5)
    assert [text.score for text in model.generated] == pytest.approx(scores[low], rel=1e-6)
    assert model.test_settings()["decode_precision"] == decode_precision


def test_fp32_is_refused_for_other_weights():
    model = seq2seq(network(), decode_precision="fp32").bfloat16()
    model.tokenizer = word_tokenizer()
    with pytest.raises(ValueError, match=r"model\.decode_precision is fp32, but the weights are bfloat16"):
        model.translate("a b")


def test_without_validation_examples_no_text_is_generated(trainer):
    model = seq2seq(validation_examples=0)
    metrics = trainer(limit_val_batches=1.0).validate(model, datamodule=(data := Data()), verbose=False)[0]
    assert metrics.keys() == set(model.validation_metrics()) == {"val/loss", "val/token_accuracy"}
    assert data.pairs


def test_a_sanity_check_generates_nothing(trainer):
    seen = []

    class Look(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            seen.append((trainer.sanity_checking, [text.index for text in pl_module.generated]))

    model = seq2seq()
    trainer(callbacks=[Look()], num_sanity_val_steps=1, limit_val_batches=1.0).fit(model, datamodule=Data(count=4))
    assert seen == [(True, []), (False, [0, 1, 2, 3])]


def test_validation_generates_with_the_averaged_weights(trainer):
    """The average stays at its first step, and the learning rate ruins the weights at the second."""
    data, net = Data(count=6, batch_size=3), talkative()
    model = seq2seq(net, optimizer=sgd(30.0))
    first = copy.deepcopy(model)
    average = EMA(decay=0.0, update_every_n_steps=1_000_000)
    average.should_update = lambda step_idx=None, epoch_idx=None: step_idx == 0  # type: ignore[method-assign]
    trainer(callbacks=[average], limit_val_batches=1.0, max_epochs=1).fit(model, datamodule=data)
    trainer(max_steps=1).fit(first, datamodule=data)
    assert [text.hypothesis for text in model.generated] == by_hand(first.architecture.eval(), data)


def test_translate_skips_blank_texts_and_takes_other_options(trainer):
    data = Data(count=6)
    model = seq2seq(talkative(), num_beams=3)
    with pytest.raises(ValueError, match="tokenizer"):
        model.translate(["a b"])
    trainer().test(model, datamodule=data, verbose=False)
    sources = [source for source, _ in data.pairs]
    beams, greedy = by_hand(model.architecture, data, num_beams=3), by_hand(model.architecture, data)
    assert model.translate([sources[0], " ", "", *sources[1:]]) == [beams[0], "", "", *beams[1:]]
    assert model.translate(sources, num_beams=1) == greedy != beams
    assert model.translate(sources[0]) == beams[0]
    assert model.translate(tuple(sources[:2])) == beams[:2]
    assert model.translate("") == ""
    assert model.translate([""]) == [""]
    assert model.translate([]) == []
    sampled = [model.translate(sources, seed=seed, num_beams=1, do_sample=True) for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    with pytest.raises(ValueError, match="num_beams"):
        model.translate(sources, num_beams=0)


@pytest.mark.parametrize(
    ("fields", "search"),
    [
        ({"num_beams": 3, "min_length": 5}, {"num_beams": 3, "min_length": 5}),
        ({"num_beams": 3, "early_stopping": True}, {"num_beams": 3, "early_stopping": True}),
        ({"num_beams": 1, "min_length": 12}, {"min_length": 12}),
    ],
)
def test_decoding_fields_count_as_a_text_does_without_the_start_token(trainer, fields, search):
    data, net = Data(count=6), talkative()
    model = seq2seq(net, **fields)
    trainer().test(model, datamodule=data, verbose=False)
    expected = by_hand(net, data, **search)
    assert [text.hypothesis for text in model.generated] == expected
    sources = [source for source, _ in data.pairs]
    other = seq2seq(net)
    other.tokenizer = data.tokenizer
    assert other.translate(sources, **fields) == expected
    assert model.test_settings() == {
        **{"max_length": 12, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "early_stopping": False},
        **{"min_length": 0, "decode_precision": "auto", **fields},
    }


def test_a_prediction_has_the_best_texts_of_a_beam_search_with_scores(trainer):
    data, net = Data(count=5, batch_size=2), talkative()
    model = seq2seq(net, num_beams=4, num_return_sequences=3)
    outputs = trainer().predict(model, datamodule=data)
    n_best = [texts for output in outputs for texts in output["n_best"]]
    assert [text for output in outputs for text in output["hypotheses"]] == by_hand(net, data, num_beams=4)
    assert [source for output in outputs for source in output["sources"]] == [source for source, _ in data.pairs]
    for (source, _), texts in zip(data.pairs, n_best, strict=True):
        ids = torch.tensor([data.tokenizer.encode(source).ids])
        search = {"num_beams": 4, "num_return_sequences": 3}
        sequences, scores = generate(net, ids, torch.ones_like(ids), max_length=13, **search)
        assert [text.text for text in texts] == [" ".join(WORDS[k] for k in row if k > 1) for row in sequences.tolist()]
        assert [text.score for text in texts] == pytest.approx(scores.tolist(), rel=1e-5)
    trainer().test(model, datamodule=data, verbose=False)
    assert [text.hypothesis for text in model.generated] == by_hand(net, data, num_beams=4)


def test_samples_of_an_evaluation_depend_on_seed_and_example_alone(trainer):
    sampling = {"num_beams": 1, "do_sample": True, "temperature": 2.0, "top_k": 9}

    def predicted(batch_size: int, seed: int = 0) -> list[str]:
        model = seq2seq(talkative(), seed=seed, **sampling)
        outputs = trainer().predict(model, datamodule=(data := Data(count=6, batch_size=batch_size)))
        trainer().test(model, datamodule=data, verbose=False)
        texts = [text for output in outputs for text in output["hypotheses"]]
        assert [text.hypothesis for text in model.generated] == texts
        assert model.test_settings().items() >= sampling.items()
        return texts

    assert predicted(6) == predicted(2) != predicted(6, seed=1)
