"""What a checkpoint says of the texts of a T5, and texts to compare an export on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from lightning_modules.text_seq2seq import TextSeq2Seq

EXAMPLE = "A man is sleeping."


class TextSettings(NamedTuple):
    """What the data of a training says of its sources.

    Attributes:
        prefixes: The prefixes of its tasks, each once; "" is none.
        max_source_length: Maximum length of a source in tokens; None where it is not known.
    """

    prefixes: tuple[str, ...]
    max_source_length: int | None


def text_settings(data: Mapping[str, Any]) -> TextSettings:
    """Return the settings in the config of a datamodule, which may be of a class that has none."""
    arguments = data.get("init_args") or {}
    prefixes = tuple(dict.fromkeys(_prefixes(arguments.get("task"))))
    return TextSettings(prefixes or ("",), arguments.get("max_source_length"))


def _prefixes(task: Any) -> Iterator[str]:
    """Yield the prefix of a task, or those of the tasks that it consists of."""
    arguments = task.get("init_args") or {} if isinstance(task, Mapping) else {}
    if "tasks" in arguments:
        for part in arguments["tasks"]:
            yield from _prefixes(part)
    else:
        yield arguments.get("prefix") or ""


def describe_source(settings: TextSettings) -> str:
    """Return what an export takes, in words."""
    limit = f" of at most {settings.max_source_length} tokens" if settings.max_source_length else ""
    prefixes = [repr(prefix) for prefix in settings.prefixes if prefix]
    return f"text{limit}" + (f", which begins with {' or '.join(prefixes)}" if prefixes else "")


def example_source(settings: TextSettings) -> str:
    """Return a source as a Python literal."""
    return repr(settings.prefixes[0] + EXAMPLE)


def tokenizer_of(module: TextSeq2Seq) -> Tokenizer:
    """Return the tokenizer of a trained module.

    Raises:
        ValueError: It has none.
    """
    if module.tokenizer is None:
        raise ValueError("the checkpoint has no tokenizer: it has not been trained")
    return module.tokenizer


def decoding_options(module: TextSeq2Seq) -> dict[str, Any]:
    """Return the options of the search in `test`; `max_length` counts the end token, not the start token."""
    return {name: value for name, value in module.test_settings().items() if name != "decode_precision"}


def sample_texts(tokenizer: Tokenizer, number: int = 16, length: int = 12) -> list[str]:
    """Return texts of random tokens of the vocabulary, the same each time, and the example."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(tokenizer.get_vocab_size(), (number - 1, length), generator=generator)
    texts = tokenizer.decode_batch(ids.tolist(), skip_special_tokens=True)
    return [EXAMPLE, *(text for text in texts if text.strip())]
