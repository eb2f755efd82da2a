"""A trained text-to-text model that puts the task's prefix before each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from lightning_modules.text_seq2seq import TextSeq2Seq
from lightning_modules.translator import for_one_text, sources_of
from oneforall.model import Model
from utils.batches import ScoredText
from utils.file_names import readable
from utils.random_streams import torch_generator


class TextModel(Model):
    """Text-to-text model that prepares texts as `oneforall predict` does.

    Args:
        module: The module of a checkpoint.
        path: The checkpoint.
        prefixes: The prefixes of its tasks; with several, `prefix` must say which.
        max_source_length: Maximum length of a source in tokens, to which longer ones are truncated; None for no limit.
    """

    module: TextSeq2Seq

    def __init__(
        self, module: TextSeq2Seq, path: str, prefixes: Sequence[str] = ("",), max_source_length: int | None = None
    ) -> None:
        super().__init__(module, path)
        self.prefixes = prefixes
        self.max_source_length = max_source_length

    @overload
    def translate(self, texts: str, **options: Any) -> str: ...

    @overload
    def translate(self, texts: Sequence[str], **options: Any) -> list[str]: ...

    def translate(self, texts: str | Sequence[str], **options: Any) -> str | list[str]:
        """Return the text that the model generates for a source, or for each of several; "" for a blank one.

        Args:
            texts: A source or several, without prefix.
            **options: As in `n_best`, but for `num_return_sequences`.

        Raises:
            ValueError: As `n_best`.
        """
        if isinstance(texts, str):
            return self.translate([texts], **options)[0]
        found = self.n_best(texts, **for_one_text(options))
        return [each[0].text if each else "" for each in found]

    def n_best(
        self,
        texts: Sequence[str],
        *,
        prefix: str | None = None,
        seed: int | None = None,
        first: int = 0,
        **options: Any,
    ) -> list[list[ScoredText]]:
        """Return the texts that the model generates for each source, with their scores; none for a blank source.

        Args:
            texts: Sources without prefix.
            prefix: Text put before each source; None for that of the model's task.
            seed: Seed of sampling; None for that of the run.
            first: Number of the first source: samples depend only on the seed and a source's number.
            **options: Decoding fields of `TextSeq2Seq` that differ from those of the run, such as `num_beams=1`,
                `do_sample=True` or `num_return_sequences=3`.

        Raises:
            ValueError: An option is invalid, a text is not a string or has bytes that are not UTF-8, or the model has
                several tasks and no prefix is given.
        """
        texts = sources_of(texts)
        before = self._prefix() if prefix is None else prefix
        for text in (before, *texts):
            _require_unicode(text)
        seed = self.module.seed if seed is None else seed
        generators = [
            torch_generator("samples", seed, number) for number, text in enumerate(texts, first) if text.strip()
        ]
        return self.module.n_best(
            [before + text if text.strip() else "" for text in texts],
            seed=generators,
            max_source_length=self.max_source_length,
            **options,
        )

    def _prefix(self) -> str:
        if len(self.prefixes) > 1:
            named = ", ".join(map(repr, self.prefixes))
            raise ValueError(f"{self.path} was trained on several tasks: set prefix to that of one of them: {named}")
        return self.prefixes[0]


def _require_unicode(text: str) -> None:
    """Raise ValueError if a text has halves of surrogate pairs, as an argument in another encoding does."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text `{readable(text)[:80]}` is not UTF-8 (character {error.start + 1}): pass it as UTF-8"
        ) from None
