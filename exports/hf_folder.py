"""Export of T5 to a folder that transformers opens with `AutoModelForSeq2SeqLM` and `AutoTokenizer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from architectures.t5.hf_weights import load_pretrained, save_pretrained
from exports.exported import Exported
from exports.texts import (
    decoding_options,
    describe_source,
    example_source,
    sample_texts,
    tokenizer_of,
)
from lightning_modules.text_seq2seq import TextSeq2Seq
from oneforall.text_model import TextModel
from utils.files import write_text
from utils.tokenizer_files import EOS_ID, PAD_ID, load_tokenizer, unknown_id


def write_hf(model: TextModel, folder: Path) -> Exported:
    """Write config, weights, tokenizer and decoding options into a folder, and read all of it again.

    Args:
        model: The trained model.
        folder: An empty folder.

    Raises:
        ValueError: What is read differs from what was written.
    """
    module, network = model.module, model.module.architecture
    tokenizer = tokenizer_of(module)
    prefix = {"prefix": model.prefixes[0]} if len(model.prefixes) == 1 and model.prefixes[0] else {}
    save_pretrained(network, folder, dtype=str(network.embedding.weight.dtype).removeprefix("torch."), **prefix)
    write_text(folder / "tokenizer.json", tokenizer.to_str())
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(model))
    _write_json(folder / "generation_config.json", _generation_config(module))

    read, written = load_pretrained(folder).state_dict(), network.state_dict()
    different = [name for name, weight in written.items() if not torch.equal(read[name], weight)]
    again, texts = load_tokenizer(folder), sample_texts(tokenizer)
    equal = [each.ids for each in again.encode_batch(texts)] == [each.ids for each in tokenizer.encode_batch(texts)]
    if different or not equal:
        raise ValueError(f"{folder}: {different or 'the tokenizer'} is different when read again: not exported")
    return Exported(
        takes=describe_source(model),
        gives=f"text of at most {module.max_length} tokens; generation_config.json has the options of `test`",
        checked="read again: equal weights, equal tokens",
        usage=(
            "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
            'tokenizer = AutoTokenizer.from_pretrained("PATH")',
            'model = AutoModelForSeq2SeqLM.from_pretrained("PATH")',
            f'source = tokenizer({example_source(model)}, return_tensors="pt")',
            "print(tokenizer.decode(model.generate(**source)[0], skip_special_tokens=True))",
        ),
    )


def _tokenizer_config(model: TextModel) -> dict[str, Any]:
    tokenizer = tokenizer_of(model.module)
    unknown = unknown_id(tokenizer)
    numbers = tokenizer.get_vocab()
    sentinels = [token for token in numbers if token.startswith("<extra_id_")]
    config = {
        # This class takes tokenizer.json as it is; T5's class would build another tokenizer from the vocabulary
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": tokenizer.id_to_token(PAD_ID),
        "eos_token": tokenizer.id_to_token(EOS_ID),
        "unk_token": None if unknown is None else tokenizer.id_to_token(unknown),
        "additional_special_tokens": sorted(sentinels, key=numbers.__getitem__, reverse=True),
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": model.max_source_length,
    }
    return {key: value for key, value in config.items() if value is not None}


def _generation_config(module: TextSeq2Seq) -> dict[str, Any]:
    """Return the options of `test` by transformers' names; its maximum length includes the start token."""
    config, options = module.architecture.config, decoding_options(module)
    longest = {"max_length": options["max_length"] + 1}
    # With its cache, transformers cannot decode if the decoder is deeper than the encoder
    without_cache = {"use_cache": False} if config.decoder_depth > config.num_layers else {}
    ids = {name: getattr(config, name) for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")}
    return ids | options | longest | without_cache


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
