"""Reading and writing of Hugging Face checkpoint folders: `config.json` and weights in safetensors or a PyTorch pickle.

A published checkpoint differs from our modules only in its parameter names, which `published_name` translates.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.model import T5
from utils.error_text import first_few
from utils.files import refuse_lfs_pointer
from utils.torch_files import load_plain
from utils.weights import check_finite, plain_weights

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a folder's weight file, in order of preference; if sharded, there are `<name>.index.json` and the shards."""

SUBLAYERS = {
    "encoder": ("self_attention", "feed_forward"),
    "decoder": ("self_attention", "cross_attention", "feed_forward"),
}
PUBLISHED_MODULES = {
    "self_attention": "SelfAttention",
    "cross_attention": "EncDecAttention",
    "feed_forward": "DenseReluDense",
}
EMBEDDING_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Other names under which a checkpoint may hold the embedding, instead of `shared.weight` or as copies."""

UNUSED_WEIGHT = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
"""Weight in early published checkpoints that no version of the model uses."""


def load_pretrained(folder: str | Path) -> T5:
    """Return the model of a published checkpoint folder, in float32 and, like any new module, in training mode.

    The output layer is untied if the folder has an `lm_head.weight` that differs from the embedding. Whether its input
    is multiplied by `d_model**-0.5` is set by `scale_decoder_outputs` in config.json or, if that is missing, by
    `tie_word_embeddings`.

    Args:
        folder: Folder with config.json and model.safetensors or pytorch_model.bin, whole or sharded with an index.

    Raises:
        FileNotFoundError: The folder, its config.json, its weights or a shard does not exist.
        ValueError: A file cannot be read, config.json is not that of a T5, or the names or shapes of the weights do not
            match it.
    """
    folder = Path(folder)
    fields_of_json = read_config(folder)
    weights = read_weights(folder)

    embedding = pop_embedding(weights, folder)
    weights.pop(UNUSED_WEIGHT, None)
    head = weights.get("lm_head.weight")
    tied = head is None or torch.equal(head, embedding)
    if head is None and fields_of_json.get("tie_word_embeddings", True) is False:
        raise ValueError(f"{folder}: lm_head.weight is missing, but config.json has tie_word_embeddings: false")
    if tied:
        weights.pop("lm_head.weight", None)
    config = published_config(folder, tie_word_embeddings=tied)
    return build(config, weights | {"shared.weight": embedding}, folder)


def published_config(folder: str | Path, **changes: Any) -> T5Config:
    """Return the config of a published checkpoint folder, as its config.json says, with `changes` to its fields.

    Raises:
        FileNotFoundError: The folder or its config.json does not exist.
        ValueError: The file cannot be read, or is not the config of a T5.
    """
    fields_of_json = read_config(Path(folder))
    known = {field.name for field in fields(T5Config)}
    scale = fields_of_json.get("scale_decoder_outputs", fields_of_json.get("tie_word_embeddings", True))
    chosen = {key: value for key, value in fields_of_json.items() if key in known}
    try:
        return T5Config(**chosen | {"scale_decoder_outputs": scale} | changes)
    except ValueError as error:
        raise ValueError(f"{Path(folder) / 'config.json'}: {error}") from error


def has_tied_head(folder: str | Path) -> bool | None:
    """Return whether the output layer of a published checkpoint folder is its embedding, as `load_pretrained` decides.

    transformers 5 writes `tie_word_embeddings: true` into the config.json of every T5. None if there is no embedding in
    safetensors to compare with: then config.json is right.
    """
    try:
        files = [path for path in weight_paths(Path(folder)) if path.suffix == ".safetensors"]
        head, embedding = (_tensor(files, name) for name in ("lm_head.weight", "shared.weight"))
    except (OSError, ValueError, SafetensorError):  # `load_pretrained` says what is wrong
        return None
    return None if embedding is None else head is None or torch.equal(head, embedding)


def _tensor(files: list[Path], name: str) -> Tensor | None:
    """Return a tensor of safetensors files, read alone; None if none of them has it."""
    for path in files:
        with safe_open(path, "pt") as opened:
            if name in opened.keys():  # noqa: SIM118 (not a dict)
                tensor: Tensor = opened.get_tensor(name)
                return tensor
    return None


def save_pretrained(model: T5, folder: str | Path, **fields: Any) -> None:
    """Write config.json and model.safetensors, which transformers and `load_pretrained` can load.

    The folder is created if needed. Weights keep their dtype.

    Args:
        model: The model.
        folder: The folder.
        **fields: Further fields of config.json.

    Raises:
        OSError: A file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = (
        asdict(model.config)
        | fields
        | {
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "is_encoder_decoder": True,
            "num_decoder_layers": model.config.decoder_depth,
            "scale_decoder_outputs": model.config.scales_decoder_outputs,
        }
    )
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    weights = {published_name(name): tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    _save_weights(weights, folder / "model.safetensors")


def _save_weights(weights: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(weights, path, metadata={"format": "pt"})
    except SafetensorError as error:  # also raised for operating system errors, with their number in the text
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def published_name(name: str) -> str:
    """Return the name in published checkpoints of the parameter `name` of `T5`."""
    if name == "embedding.weight":
        return "shared.weight"
    if name == "lm_head.weight":
        return name
    stack, module, *rest = name.split(".")
    if module == "position_bias":
        return f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    if module == "final_norm":
        return f"{stack}.final_layer_norm.weight"
    index, part, *rest = rest
    sublayer = part.removesuffix("_norm")
    layer = f"{stack}.block.{index}.layer.{SUBLAYERS[stack].index(sublayer)}"
    return ".".join([layer, "layer_norm" if part.endswith("_norm") else PUBLISHED_MODULES[sublayer], *rest])


def read_config(folder: Path) -> dict[str, Any]:
    """Return the fields of config.json that are not null.

    Raises:
        FileNotFoundError: The folder or its config.json does not exist.
        ValueError: The file is not the config of a T5.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    path = folder / "config.json"
    config = read_json(path)
    model_type = config.get("model_type", "t5")
    if model_type != "t5":
        raise ValueError(f"{path}: model_type must be 't5', got {model_type!r}: name the folder of a T5 or FLAN-T5")
    # In published code, null means the default.
    return {key: value for key, value in config.items() if value is not None}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors by their published names, converted to float32.

    Raises:
        FileNotFoundError: The weights or a shard do not exist.
        ValueError: A file cannot be read, or holds something other than named tensors of finite floating-point values,
            or two shards hold the same tensor.
    """
    weights: dict[str, Tensor] = {}
    for path in weight_paths(folder):
        refuse_lfs_pointer(path)
        try:
            part = load_file(path) if path.suffix == ".safetensors" else load_plain(path)
            if not isinstance(part, dict):
                raise ValueError(f"it must hold named tensors, got {type(part).__name__}")
            others = [name for name, value in part.items() if not isinstance(value, Tensor)]
            if others:
                raise ValueError(f"it must hold named tensors only, but {others[0]!r} is not a tensor")
            part = plain_weights(part)
            check_finite(part)
        except (SafetensorError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} cannot be read as weights ({reason}); copy or download it again") from error
        if packed := [name for name, value in part.items() if not value.is_floating_point()]:
            raise ValueError(
                f"{path}: {packed[0]} is {part[packed[0]].dtype}, as in quantized weights: get weights in float32, "
                "float16 or bfloat16"
            )
        if twice := sorted(weights.keys() & part.keys()):
            raise ValueError(f"{path} has {twice[0]}, which is also in another shard; copy or download them all again")
        weights |= part
    return {name: tensor.float() for name, tensor in weights.items()}


def weight_paths(folder: Path) -> Iterator[Path]:
    """Yield the weight file, or the shards listed in its index.

    Raises:
        FileNotFoundError: There is neither a weight file nor an index, or a shard is missing.
        ValueError: The index is not valid, or names a file in another folder.
    """
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            yield folder / name
            return
        if index.is_file():
            shards = read_json(index).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
                raise ValueError(f"{index} must map each weight to its file in `weight_map`")
            if outside := [each for each in shards.values() if Path(each).name != each or each in ("", "..")]:
                raise ValueError(f"{index} names {outside[0]!r} in `weight_map`, but shards must be beside the index")
            paths = [folder / shard for shard in sorted(set(shards.values()))]
            if lost := [path for path in paths if not path.is_file()]:
                raise FileNotFoundError(f"{lost[0]} is missing, but {index} names it: copy or download it again")
            yield from paths
            return
    raise FileNotFoundError(f"{folder} has no weights: it must hold {' or '.join(WEIGHT_FILES)}, whole or sharded")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: The file is not JSON, or holds something other than an object.
    """
    refuse_lfs_pointer(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}; copy or download it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def pop_embedding(weights: dict[str, Tensor], folder: Path) -> Tensor:
    """Remove the embedding from `weights`, under all of its names, and return it.

    Raises:
        ValueError: The embedding is missing, or its copies differ.
    """
    copies = {name: weights.pop(name) for name in ("shared.weight", *EMBEDDING_COPIES) if name in weights}
    if not copies:
        raise ValueError(f"{folder}: shared.weight is missing")
    first, *others = copies
    for name in others:
        if not torch.equal(copies[name], copies[first]):
            raise ValueError(f"{folder}: {name} differs from {first}, but T5 has one embedding")
    return copies[first]


def build(config: T5Config, weights: dict[str, Tensor], folder: Path) -> T5:
    """Return a model that has the published weights.

    Raises:
        ValueError: The names or shapes of the weights do not match the config.
    """
    with torch.device("meta"):  # skips the initialisation of weights
        model = T5(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    expected = {published_name(name): shape for name, shape in shapes.items()}
    problems = [f"missing {name}" for name in sorted(expected.keys() - weights.keys())]
    problems += [f"unexpected {name}" for name in sorted(weights.keys() - expected.keys())]
    if problems:
        raise ValueError(f"{folder}: the weights do not match config.json: {first_few(problems)}")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ValueError(
                f"{folder}: {name} must have shape {tuple(shape)} according to config.json, "
                f"got {tuple(weights[name].shape)}"
            )
    model.load_state_dict({name: weights[published_name(name)] for name in shapes}, assign=True)
    return model
