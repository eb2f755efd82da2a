"""Export of T5 to CTranslate2, which decodes several times faster than torch on a CPU, also in 8-bit integers.

Our weights fill CTranslate2's own description of a Transformer; its converter would have transformers load them first.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from architectures.t5.config import T5Config
from architectures.t5.feed_forward import FeedForward, GatedFeedForward
from architectures.t5.model import T5
from architectures.t5.stack import Block, Stack
from exports.exported import Exported, check_close, require
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
from utils.tokenizer_files import unknown_id

LIMIT = 1e-3
"""Greatest difference of a token's log-probability in float32 that is attributed to the order of additions."""


def write_ctranslate2(model: TextModel, folder: Path, quantization: str | None = None) -> Exported:
    """Write weights, vocabulary and tokenizer.json into a folder, and compare what CTranslate2 computes.

    Args:
        model: The trained model.
        folder: An empty folder.
        quantization: Type of the weights, such as `int8`; None for float32.

    Raises:
        ValueError: The package is missing, log-probabilities in float32 differ, or those of other types are not finite.
    """
    require("ctranslate2")
    module, tokenizer = model.module, tokenizer_of(model.module)
    spec = _spec(copy.deepcopy(module.architecture), tokenizer)  # quantization scales weights in place
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    write_text(folder / "tokenizer.json", tokenizer.to_str())

    difference = _greatest_difference(module, folder)
    if quantization is None:
        check_close(difference, LIMIT, "log-probabilities in ctranslate2")
    elif not math.isfinite(difference):
        raise ValueError(f"--quantization {quantization} makes log-probabilities NaN or infinite: choose another type")
    options = ", ".join(f"{name}={value}" for name, value in _options(decoding_options(module)).items())
    return Exported(
        takes=f"{describe_source(model)}, as tokens of its tokenizer.json",
        gives=f"tokens; the options of `test` are {options}",
        checked=f"in ctranslate2, greatest difference of a token's log-probability {difference:.1e}",
        usage=(
            "import ctranslate2, tokenizers",
            'translator = ctranslate2.Translator("PATH")',
            'tokenizer = tokenizers.Tokenizer.from_file("PATH/tokenizer.json")',
            f"source = tokenizer.encode({example_source(model)}).tokens",
            f"tokens = translator.translate_batch([source], {options})[0].hypotheses[0]",
            "print(tokenizer.decode(list(filter(None, map(tokenizer.token_to_id, tokens)))))",
        ),
    )


def _options(found: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `translate_batch` for the options of `test`."""
    options = {
        "beam_size": found["num_beams"],
        "max_decoding_length": found["max_length"],
        "min_decoding_length": max(0, found["min_length"] - 1),  # which does not count the end token
        "length_penalty": found["length_penalty"],
        "return_end_token": True,  # else the penalty does not count it either
        "max_input_length": 0,  # longer sources are cut where they are encoded, if at all
    }
    if found["no_repeat_ngram_size"]:
        options["no_repeat_ngram_size"] = found["no_repeat_ngram_size"]
    if found.get("do_sample"):
        names = {"sampling_topk": "top_k", "sampling_topp": "top_p", "sampling_temperature": "temperature"}
        options |= {name: found[ours] for name, ours in names.items()}
    return options


def _spec(network: T5, tokenizer: Tokenizer) -> Any:
    """Return CTranslate2's description of a T5, with its weights and vocabulary."""
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.common_spec import Activation

    config = network.config
    gated = config.feed_forward_proj == "gated-gelu"
    spec = TransformerSpec.from_config(
        (config.num_layers, config.decoder_depth),
        config.num_heads,
        activation=Activation.GELUTanh if gated else Activation.RELU,
        ffn_glu=gated,
        rms_norm=True,
        relative_attention_bias=True,
    )
    weights = network.embedding.weight.detach()
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = weights
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = False
    _fill_stack(spec.encoder, network.encoder, config)
    _fill_stack(spec.decoder, network.decoder, config)
    spec.decoder.projection.weight = network.output_weight.detach()
    if config.scales_decoder_outputs:
        spec.decoder.scale_outputs = config.d_model**-0.5

    tokens = [tokenizer.id_to_token(number) or f"<unused_{number}>" for number in range(config.vocab_size)]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    unknown = unknown_id(tokenizer)
    if unknown is not None:
        spec.config.unk_token = tokens[unknown]
    spec.config.bos_token = tokens[config.pad_token_id]
    spec.config.eos_token = tokens[config.eos_token_id]
    spec.config.decoder_start_token = tokens[config.decoder_start_token_id]
    spec.config.layer_norm_epsilon = config.layer_norm_epsilon
    return spec


@torch.no_grad()
def _fill_stack(spec: Any, stack: Stack, config: T5Config) -> None:
    spec.layer_norm.gamma = stack.final_norm.weight
    for layer, block in zip(spec.layer, map(_block, stack.blocks), strict=True):
        own = block.self_attention
        _fill_attention(layer.self_attention, (own.q, own.k, own.v), (own.o,))
        layer.self_attention.layer_norm.gamma = block.self_attention_norm.weight
        layer.self_attention.relative_attention_bias = stack.position_bias.embedding.weight
        layer.self_attention.relative_attention_max_distance = np.int32(config.relative_attention_max_distance)
        if stack.is_decoder:
            cross = block.cross_attention
            _fill_attention(layer.attention, (cross.q,), (cross.k, cross.v), (cross.o,))
            layer.attention.layer_norm.gamma = block.cross_attention_norm.weight
        layer.ffn.layer_norm.gamma = block.feed_forward_norm.weight
        _fill_feed_forward(layer.ffn, block.feed_forward)


def _block(module: nn.Module) -> Block:
    assert isinstance(module, Block)
    return module


def _fill_feed_forward(spec: Any, layer: nn.Module) -> None:
    assert isinstance(layer, FeedForward | GatedFeedForward)
    spec.linear_1.weight = layer.wo.weight
    if isinstance(layer, GatedFeedForward):
        spec.linear_0.weight, spec.linear_0_noact.weight = layer.wi_0.weight, layer.wi_1.weight
    else:
        spec.linear_0.weight = layer.wi.weight


def _fill_attention(spec: Any, *groups: tuple[nn.Linear, ...]) -> None:
    """Give each layer of a CTranslate2 attention the weights of a group of our layers, one below the other."""
    spec.queries_scale = 1.0
    for linear, group in zip(spec.linear, groups, strict=True):
        linear.weight = torch.cat([layer.weight for layer in group])


@torch.no_grad()
def _greatest_difference(module: TextSeq2Seq, folder: Path) -> float:
    """Return the greatest difference between CTranslate2's log-probabilities and ours, of our own translations.

    It is NaN if one of them is.
    """
    import ctranslate2

    tokenizer = tokenizer_of(module)
    translator = ctranslate2.Translator(str(folder), device="cpu")
    greatest = torch.zeros(())
    for source in sample_texts(tokenizer):
        target = module.translate(source, num_beams=1) or source
        encoded, labels = tokenizer.encode(source), tokenizer.encode(target)
        (scored,) = translator.score_batch([encoded.tokens], [labels.tokens[:-1]])  # it adds the end token
        ids_1S, labels_1T = torch.tensor([encoded.ids]), torch.tensor([labels.ids])
        log_p_TV = module(ids_1S, torch.ones_like(ids_1S), labels_1T)[0].log_softmax(-1)
        ours = log_p_TV.gather(1, labels_1T.T).flatten()
        greatest = greatest.maximum((torch.tensor(scored.log_probs) - ours).abs().max())
    return float(greatest)
