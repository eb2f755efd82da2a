"""Folders of T5: transformers opens one with equal tokens and equal text, CTranslate2 the other with equal text."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Encoding
from torch import nn

from architectures.t5.config import T5Config
from architectures.t5.generation import generate
from architectures.t5.search import Search
from exports.ctranslate2_folder import write_ctranslate2
from exports.hf_folder import write_hf
from oneforall import TextModel
from tests.architectures.t5.oracle import CONFIGS
from tests.exports.models import SENTENCES, make_translator

every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


SEARCH = Search(max_length=13, num_beams=3, length_penalty=0.6, no_repeat_ngram_size=2)
DECODING = {"num_beams": 3, "length_penalty": 0.6, "no_repeat_ngram_size": 2}
"""The same, as arguments of the module."""

GREEDY = dataclasses.replace(SEARCH, num_beams=1)


def ours(model: TextModel, sentence: str, search: Search) -> tuple[int, ...]:
    """Return the ids of our translation, without start, end and padding."""
    ids = torch.tensor([tokens_of(model, sentence).ids])
    sequences, _ = generate(model.module.architecture, ids, torch.ones_like(ids), **dataclasses.asdict(search))
    return tuple(token for token in sequences[0].tolist() if token > 1)


def tokens_of(model: TextModel, sentence: str) -> Encoding:
    assert model.module.tokenizer is not None
    return model.module.tokenizer.encode(sentence)


@every_config
def test_transformers_opens_a_folder_with_equal_tokens_and_equal_text(config: T5Config, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = make_translator(config, **DECODING)
    write_hf(model, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    opened = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()

    def theirs(sentence: str, **changes: int) -> tuple[int, ...]:
        (found,) = opened.generate(**tokenizer(sentence, return_tensors="pt"), **changes).tolist()
        return tuple(token for token in found if token > 1)

    for sentence in SENTENCES:
        assert tokenizer(sentence).input_ids == tokens_of(model, sentence).ids
        assert theirs(sentence, num_beams=1) == ours(model, sentence, GREEDY)
    found = [theirs(sentence) for sentence in SENTENCES]  # with the options of `test`, which the folder has
    assert found == [ours(model, sentence, SEARCH) for sentence in SENTENCES]
    assert len(set(found)) > 2  # or it would show nothing
    assert tokenizer.decode(tokenizer("two dogs").input_ids, skip_special_tokens=True) == "two dogs"
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.model_max_length == 64
    assert opened.config.prefix == "translate English to German: "


@every_config
def test_ctranslate2_finds_the_same_text(config: T5Config, tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    model = make_translator(config)
    write_ctranslate2(model, tmp_path)
    vocabulary = json.loads((tmp_path / "shared_vocabulary.json").read_text())
    sources = [tokens_of(model, sentence).tokens for sentence in SENTENCES]
    translator = ctranslate2.Translator(str(tmp_path))
    results = translator.translate_batch(sources, beam_size=1, max_decoding_length=12)
    ids = [map(vocabulary.index, result.hypotheses[0]) for result in results]
    found = [tuple(token for token in row if token > 1) for row in ids]  # an untrained model generates padding
    assert found == [ours(model, sentence, Search(max_length=13)) for sentence in SENTENCES]
    assert len(set(found)) > 1  # or it would show nothing


@pytest.mark.parametrize("min_length", [0, 1, 4, 9])
def test_the_options_for_ctranslate2_are_those_of_test(min_length: int, tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    model = make_translator(CONFIGS["tied"], num_beams=1, min_length=min_length)
    usage = write_ctranslate2(model, tmp_path).usage
    (call,) = (line for line in usage if "translate_batch" in line)
    options = eval(f"dict({call.partition('[source], ')[2].partition(')')[0]})")
    vocabulary = json.loads((tmp_path / "shared_vocabulary.json").read_text())
    sources = [tokens_of(model, sentence).tokens for sentence in SENTENCES]
    results = ctranslate2.Translator(str(tmp_path)).translate_batch(sources, **options)
    ids = [map(vocabulary.index, result.hypotheses[0]) for result in results]
    found = [tuple(token for token in row if token > 1) for row in ids]
    assert found == [ours(model, sentence, model.module.search) for sentence in SENTENCES]


def test_sampling_is_among_the_options_for_ctranslate2(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    model = make_translator(CONFIGS["tied"], num_beams=1, do_sample=True, top_k=5, top_p=0.9, temperature=0.7)
    usage = "".join(write_ctranslate2(model, tmp_path).usage)
    assert "sampling_topk=5, sampling_topp=0.9, sampling_temperature=0.7" in usage


def test_a_folder_of_8_bit_integers_is_smaller_and_says_how_far_it_is_off(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    sizes, model = {}, make_translator(CONFIGS["tied"])
    for quantization in (None, "int8"):
        folder = tmp_path / str(quantization)
        folder.mkdir()
        exported = write_ctranslate2(model, folder, quantization)
        sizes[quantization] = (folder / "model.bin").stat().st_size
    assert sizes["int8"] < 0.5 * sizes[None]
    assert float(exported.checked.split()[-1]) > 1e-4


def test_weights_that_ctranslate2_has_wrong_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctranslate2")
    monkeypatch.setattr("exports.ctranslate2_folder._fill_attention", swapped_heads)
    with pytest.raises(ValueError, match=r"log-probabilities in ctranslate2 differ from those of the checkpoint by"):
        write_ctranslate2(make_translator(CONFIGS["tied"]), tmp_path)


class NotANumber:
    """A translator of CTranslate2 whose first log-probability overflows, as in a type that is too small."""

    def __init__(self, folder: str, device: str) -> None:
        pass

    def score_batch(self, sources: list[list[str]], targets: list[list[str]]) -> list[SimpleNamespace]:
        return [SimpleNamespace(log_probs=[float("nan")] + [-1.0] * len(each)) for each in targets]


@pytest.mark.parametrize(
    ("quantization", "message"),
    [(None, r"log-probabilities in ctranslate2 differ .* by nan"), ("int8", r"--quantization int8 makes .* NaN")],
)
def test_log_probabilities_that_are_no_numbers_are_refused(
    quantization: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    monkeypatch.setattr(ctranslate2, "Translator", NotANumber)
    with pytest.raises(ValueError, match=message):
        write_ctranslate2(make_translator(CONFIGS["tied"]), tmp_path, quantization)


def swapped_heads(spec: Any, *groups: tuple[nn.Linear, ...]) -> None:
    """Fill an attention with keys and values, the last two layers of their group, exchanged."""
    spec.queries_scale = 1.0
    for linear, group in zip(spec.linear, groups, strict=True):
        exchanged = (*group[:-2], *reversed(group[-2:]))
        linear.weight = torch.cat([layer.weight.detach() for layer in exchanged])


def test_the_folder_for_transformers_has_the_options_of_test(tmp_path: Path) -> None:
    model = TextModel(make_translator(CONFIGS["tied"], **DECODING).module, "model.ckpt")
    exported = write_hf(model, tmp_path)
    options = json.loads((tmp_path / "generation_config.json").read_text())
    assert (options["num_beams"], options["length_penalty"], options["no_repeat_ngram_size"]) == (3, 0.6, 2)
    assert options["max_length"] == 13  # transformers counts the start token
    assert "prefix" not in json.loads((tmp_path / "config.json").read_text())
    assert "model_max_length" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert exported.takes == "text"
