"""Tests of sampling: seeds, groups, filters and constraints."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from architectures.t5 import generation
from architectures.t5.generation import generate
from tests.architectures.t5.generated import ending, rows, score_size, sources
from tests.architectures.t5.oracle import CONFIGS, make_pair
from tests.close import assert_close


class TestSampling:
    def test_equal_seeds_give_equal_samples(self) -> None:
        model, _ = make_pair(ending("untied-gated"))
        options: dict[str, Any] = {"max_length": 12, "do_sample": True, "num_return_sequences": 3}
        first, again, other = (generate(model, **sources(16), **options, seed=seed)[0] for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert rows(model, first) != rows(model, other)
        for whole, row in zip(first.tolist(), rows(model, first), strict=True):
            assert not any(whole[1 + len(row) :])  # only padding after the end, while others continue
        torch.manual_seed(5)
        unseeded = generate(model, **sources(16), **options)[0]
        torch.manual_seed(5)
        assert torch.equal(unseeded, generate(model, **sources(16), **options)[0])
        assert rows(model, unseeded) != rows(model, generate(model, **sources(16), **options)[0])

    def test_with_a_generator_per_source_samples_do_not_depend_on_the_others(self) -> None:
        model, _ = make_pair(ending("untied-gated"))
        options: dict[str, Any] = {"max_length": 12, "do_sample": True, "num_return_sequences": 2}
        inputs = sources(8)

        def sample(places: list[int]) -> list[list[list[int]]]:
            some = {name: tensor[places] for name, tensor in inputs.items()}
            generators = [torch.Generator().manual_seed(place) for place in places]
            found = rows(model, generate(model, **some, **options, seed=generators)[0])
            return [found[first : first + 2] for first in range(0, len(found), 2)]

        together = sample([*range(8)])
        assert sample([5, 0, 3]) == [together[place] for place in (5, 0, 3)]
        assert together[0][0] != together[0][1]
        with pytest.raises(ValueError, match="zip"):
            generate(model, **inputs, **options, seed=[torch.Generator()])

    def test_grouping_does_not_change_samples(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, _ = make_pair(ending("untied-gated"))
        options: dict[str, Any] = {"max_length": 12, "do_sample": True, "num_return_sequences": 2, "seed": 3}
        expected = generate(model, **sources(24), **options)
        monkeypatch.setattr(generation, "TOKENS_AT_ONCE", 12 * 2 * 5)
        found = generate(model, **sources(24), **options)
        assert rows(model, found[0]) == rows(model, expected[0])
        assert_close(found[1], expected[1], size=score_size(model, sources(24), expected[0]))

    @pytest.mark.parametrize(
        "options",
        [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6}, {"top_k": 9, "top_p": 0.8, "temperature": 1.7}],
        ids=str,
    )
    def test_frequencies_follow_transformers_filters(self, options: dict[str, Any]) -> None:
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        model, _ = make_pair(ending("untied-gated"))
        one = {name: tensor[:1] for name, tensor in sources(1).items()}
        filters = LogitsProcessorList(
            [TemperatureLogitsWarper(float(options.get("temperature", 1.0)))]
            + ([TopKLogitsWarper(options["top_k"])] if "top_k" in options else [])
            + ([TopPLogitsWarper(options["top_p"])] if "top_p" in options else [])
        )
        with torch.no_grad():
            logits = model(**one, decoder_input_ids=torch.tensor([[0]]))[:, -1]
        expected = filters(torch.tensor([[0]]), logits).softmax(-1)[0]  # type: ignore[arg-type]

        count = 20_000
        sampled, _ = generate(model, **one, max_length=2, do_sample=True, num_return_sequences=count, seed=0, **options)
        frequency = torch.bincount(sampled[:, 1], minlength=40) / count
        assert (frequency[expected == 0] == 0).all()
        assert (frequency - expected).abs().max() <= 4 * (0.25 / count) ** 0.5  # 4 standard deviations at the most

    def test_top_k_above_the_vocabulary_is_all_of_it(self) -> None:
        model, _ = make_pair(CONFIGS["tied"])
        every, more = (
            generate(model, **sources(16), max_length=9, do_sample=True, top_k=top_k, seed=0)[0] for top_k in (0, 10**9)
        )
        assert torch.equal(every, more)

    def test_top_k_of_one_is_greedy_and_constraints_hold(self) -> None:
        model, _ = make_pair(ending("tied"))
        rules: dict[str, Any] = {"max_length": 12, "min_length": 6, "no_repeat_ngram_size": 2}
        greedy = generate(model, **sources(16), **rules)
        sampled = generate(model, **sources(16), **rules, do_sample=True, top_k=1, temperature=3.0, seed=0)
        assert torch.equal(greedy[0], sampled[0])
        free = generate(model, **sources(16), **rules, do_sample=True, temperature=3.0, seed=0)[0]
        for row in rows(model, free):
            pairs = list(zip([0, *row], row, strict=False))
            assert len(set(pairs)) == len(pairs) and len(row) >= 6 - 1

    def test_a_result_ends_if_no_token_is_allowed(self) -> None:
        """With five tokens, no repetition and no end before twelve, only the end is left after the other four."""
        model, _ = make_pair(replace(CONFIGS["tied"], vocab_size=5))
        source = {"input_ids": torch.full((2, 3), 2), "attention_mask": torch.ones(2, 3)}
        rules: dict[str, Any] = {"max_length": 14, "min_length": 12, "no_repeat_ngram_size": 1}
        for options in ({"do_sample": True, "seed": 0}, {"num_beams": 2}, {}):
            written, scores = generate(model, **source, **rules, **options)  # type: ignore[arg-type]
            assert written.shape == (2, 5) and (written[:, -1] == 1).all() and scores.isfinite().all()
            assert all(len(set(row)) == 5 for row in written.tolist())

    def test_the_start_token_counts_as_a_repetition(self) -> None:
        model, _ = make_pair(ending("tied"))
        options: dict[str, Any] = {"do_sample": True, "num_return_sequences": 3000, "temperature": 5.0, "seed": 0}
        for size, repeats in ((0, True), (1, False)):
            sampled, _ = generate(model, **sources(1), max_length=2, no_repeat_ngram_size=size, **options)
            assert (sampled[:, 1] == 0).any() == repeats
