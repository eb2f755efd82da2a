"""Text-to-text generation in Python, with a T5 and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

from torch import Tensor

from architectures.t5.model import T5
from architectures.t5.search import Search
from lightning_modules.decoding import DecodePrecision
from lightning_modules.text_generation import Seed, encode_sources, generate_texts
from utils.batches import ScoredText
from utils.checks import check_int, check_positive_int
from utils.contracts import UsesTokenizer

SAMPLING = ("do_sample", "top_k", "top_p", "temperature")
"""Decoding fields that a search does not use."""


class Translator(UsesTokenizer):
    """Base class of modules that generate texts with a T5.

    Attributes:
        architecture: The network.
        decoding: Decoding options by their names as fields, those of `text_search`.
        decode_precision: The precision in which to decode.
    """

    architecture: T5
    decoding: dict[str, Any]
    decode_precision: DecodePrecision

    @overload
    def translate(self, texts: str, *, seed: Seed = None, **changes: Any) -> str: ...

    @overload
    def translate(self, texts: Sequence[str], *, seed: Seed = None, **changes: Any) -> list[str]: ...

    def translate(self, texts: str | Sequence[str], *, seed: Seed = None, **changes: Any) -> str | list[str]:
        """Return the text that the model generates for each source; "" for a blank one, as in `predict`.

        Args:
            texts: Sources; for a single string, the result is a string.
            seed: As in `n_best`.
            **changes: As in `n_best`, but for `num_return_sequences`.

        Raises:
            ValueError: As `n_best`.
        """
        if isinstance(texts, str):
            return self.translate([texts], seed=seed, **changes)[0]
        n_best = self.n_best(texts, seed=seed, **for_one_text(changes))
        return [found[0].text if found else "" for found in n_best]

    def n_best(
        self, texts: Sequence[str], *, seed: Seed = None, max_source_length: int | None = None, **changes: Any
    ) -> list[list[ScoredText]]:
        """Return the texts that the model generates for each source, with their scores; none for a blank source.

        Args:
            texts: Sources as in training: with the task's prefix, if it has one.
            seed: Seed for sampling (`do_sample=True`), or a generator (on the CPU) for each source that is not blank;
                None uses the global generator.
            max_source_length: Maximum length of a source in tokens, to which longer ones are truncated.
            **changes: Decoding fields of this class that differ, such as `num_beams=1` or `num_return_sequences=3`.
                With `do_sample=True`, `num_beams` is 1 unless it is given.

        Raises:
            ValueError: The model has no tokenizer yet, an option is invalid, or a source is not a string.
        """
        texts = sources_of(texts)
        if max_source_length is not None:
            check_positive_int("max_source_length", max_source_length)
        if self.tokenizer is None:
            raise ValueError("there is no tokenizer before training: use TextSeq2Seq.load_from_checkpoint")
        search = text_search(**{**self.decoding, **({"num_beams": 1} if changes.get("do_sample") else {}), **changes})
        sources = [text for text in texts if text.strip()]
        if not sources:
            return [[] for _ in texts]
        input_ids, mask = encode_sources(self.tokenizer, sources, self.architecture, max_source_length)
        device = self.architecture.embedding.weight.device
        generated = iter(self.generate(input_ids.to(device), mask.to(device), search, seed))
        return [next(generated) if text.strip() else [] for text in texts]

    def generate(self, input_ids: Tensor, mask: Tensor, search: Search, seed: Seed) -> list[list[ScoredText]]:
        """Return what `generate_texts` does, for token ids [B, S] of sources and the mask of their tokens."""
        assert self.tokenizer is not None
        return generate_texts(self.architecture, self.tokenizer, input_ids, mask, search, self.decode_precision, seed)


def for_one_text(options: dict[str, Any]) -> dict[str, Any]:
    """Return decoding options that give one text per source, whatever the model was trained with.

    Raises:
        ValueError: They ask for several.
    """
    if options.get("num_return_sequences", 1) != 1:
        raise ValueError("translate returns one text for each source: call n_best for num_return_sequences")
    return {**options, "num_return_sequences": 1}


def sources_of(texts: Iterable[str]) -> list[str]:
    """Return several sources as a list: an iterator, such as an open file, can be read only once.

    Raises:
        ValueError: They are one string, whose characters would be sources, or not strings.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise ValueError(f"texts must be several strings, such as a list, got {type(texts).__name__}")
    sources = list(texts)
    for number, text in enumerate(sources):
        if not isinstance(text, str):
            raise ValueError(f"texts[{number}] must be a string, got {type(text).__name__}")
    return sources


def text_search(max_length: int, min_length: int, **options: Any) -> Search:
    """Return a search whose lengths are those of a text: its tokens and the end token, without the start token.

    The minimum is the same number in both: `Search` counts the start token in it, but not the end token.

    Args:
        max_length: Maximum length of a text.
        min_length: Minimum length of a text; 0 for none.
        **options: The other options of `Search`.

    Raises:
        ValueError: An option is invalid.
    """
    check_positive_int("max_length", max_length)
    if check_int("min_length", min_length) > max_length:
        raise ValueError(f"min_length must be at most max_length, {max_length}, got {min_length}")
    return Search(max_length=max_length + 1, min_length=min_length, **options)
