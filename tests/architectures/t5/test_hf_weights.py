"""Tests of checkpoint folders: exchange with transformers in both directions, and errors for invalid ones."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import has_tied_head, load_pretrained, save_pretrained
from architectures.t5.model import T5
from tests.architectures.t5.oracle import CONFIGS, SMALL, make_pair, random_batch
from tests.close import assert_close

configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@torch.no_grad()
def logits(model: Any) -> Tensor:
    batch = random_batch(40)
    labels = batch.pop("labels")
    decoder_input_ids = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1].clamp(min=0)], dim=1)
    result = model.eval()(**batch, decoder_input_ids=decoder_input_ids)
    return result if isinstance(result, Tensor) else result.logits


def assert_same(loaded: T5, ours: T5) -> None:
    """Check that the weights are equal bit for bit, and that the logits are close.

    Weights stay where the file was read, at an address that may call for another kernel than that of our own.
    """
    mine, theirs = loaded.state_dict(), ours.state_dict()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert_close(logits(loaded), logits(ours))


def edit_config(folder: Path, **changes: Any) -> None:
    """Set fields of config.json, or remove those whose value is `...`."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def to_pickle(folder: Path) -> None:
    """Replace model.safetensors by an old-style pytorch_model.bin, which holds every copy of tied weights."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for copy in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
        weights[copy] = weights["shared.weight"]
    weights.setdefault("lm_head.weight", weights["shared.weight"])
    weights["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(8, 4)
    torch.save(weights, folder / "pytorch_model.bin")


@configs
@pytest.mark.parametrize("layout", ["whole", "sharded", "pickle"])
def test_loads_checkpoints_of_transformers(config: T5Config, layout: str, tmp_path: Path) -> None:
    ours, theirs = make_pair(config)
    theirs.save_pretrained(tmp_path, max_shard_size="4KB" if layout == "sharded" else "1GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == (layout == "sharded")
    if layout == "pickle":
        to_pickle(tmp_path)
    loaded = load_pretrained(tmp_path)
    assert loaded.config.tie_word_embeddings == config.tie_word_embeddings
    assert loaded.config.scales_decoder_outputs == config.scales_decoder_outputs
    assert_same(loaded, ours)
    assert_close(logits(loaded), logits(theirs))
    assert all(weight.requires_grad for weight in loaded.parameters())


@configs
def test_transformers_loads_our_checkpoints(config: T5Config, tmp_path: Path) -> None:
    import transformers

    ours, _ = make_pair(config)
    save_pretrained(ours, tmp_path / "new" / "folder")
    model_class: Any = transformers.T5ForConditionalGeneration
    theirs, info = model_class.from_pretrained(tmp_path / "new" / "folder", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert theirs.config.decoder_start_token_id == 0
    assert_close(logits(theirs), logits(ours))

    again = load_pretrained(tmp_path / "new" / "folder")
    assert_same(again, ours)
    assert again.config == T5Config(
        **vars(ours.config)
        | {"num_decoder_layers": ours.config.decoder_depth, "scale_decoder_outputs": ours.config.scales_decoder_outputs}
    )


@pytest.mark.parametrize("tied", [True, False])
def test_scaling_defaults_to_tying_as_in_transformers_4(tied: bool, tmp_path: Path) -> None:
    ours = T5(T5Config(**SMALL | {"tie_word_embeddings": tied}))
    save_pretrained(ours, tmp_path)
    edit_config(tmp_path, scale_decoder_outputs=..., tie_word_embeddings=... if tied else False)
    loaded = load_pretrained(tmp_path)
    assert (loaded.config.tie_word_embeddings, loaded.config.scales_decoder_outputs) == (tied, tied)
    assert_same(loaded, ours)


def test_weights_not_config_decide_whether_the_head_is_tied(tmp_path: Path) -> None:
    """Transformers 5 writes `tie_word_embeddings: true` whatever the file holds."""
    ours = T5(CONFIGS["untied-gated"])
    save_pretrained(ours, tmp_path)
    edit_config(tmp_path, tie_word_embeddings=True)
    loaded = load_pretrained(tmp_path)
    assert not loaded.config.tie_word_embeddings and not loaded.config.scales_decoder_outputs
    assert_same(loaded, ours)
    assert has_tied_head(tmp_path) is False
    edit_weights(tmp_path, lambda w: w.update({"lm_head.weight": w["shared.weight"].clone()}))
    assert has_tied_head(tmp_path) is True
    assert has_tied_head(tmp_path / "nowhere") is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_load_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    save_pretrained(T5(CONFIGS["tied"]).to(dtype), tmp_path)
    assert load_file(tmp_path / "model.safetensors")["shared.weight"].dtype == dtype
    assert {weight.dtype for weight in load_pretrained(tmp_path).parameters()} == {torch.float32}


def test_embedding_under_another_name_is_found(tmp_path: Path) -> None:
    ours = T5(CONFIGS["tied"])
    save_pretrained(ours, tmp_path)
    edit_weights(tmp_path, lambda w: w.update({"decoder.embed_tokens.weight": w.pop("shared.weight")}))
    assert_same(load_pretrained(tmp_path), ours)


NORM = "encoder.final_layer_norm.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop(NORM), f"config.json: missing {NORM}$"),
        (lambda w: w.update({"bias": torch.zeros(1)}), "config.json: unexpected bias$"),
        (
            lambda w: w.update({name: torch.zeros(1) for name in "abcde"}),
            "unexpected a; unexpected b; unexpected c; and 2 more$",
        ),
        (lambda w: w.update({NORM: w[NORM].to(torch.int8)}), rf"{NORM} is torch.int8, as in quantized weights: get"),
        (lambda w: w.update({NORM: torch.zeros(3)}), rf"{NORM} must have shape \(16,\) according to .*, got \(3,\)"),
        (lambda w: w.update({"encoder.embed_tokens.weight": torch.zeros(40, 16)}), "embed_tokens.weight differs from"),
        (lambda w: w.pop("shared.weight"), "shared.weight is missing"),
    ],
)
def test_mismatched_weights_are_named(
    edit: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    edit_weights(tmp_path, edit)
    with pytest.raises(ValueError, match=message):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bart"}, "config.json: model_type must be 't5', got 'bart'"),
        ({"feed_forward_proj": "gated-silu"}, "config.json: feed_forward_proj must be one of .*got 'gated-silu'"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing, but config.json has tie_word_embeddings: false"),
        ({"d_ff": 25}, r"must have shape \(25, 16\) according to config.json, got \(24, 16\)"),
    ],
)
def test_mismatched_config_fields_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_pretrained(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config.json"):
        load_pretrained(tmp_path)
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.rename(tmp_path / "model.safetensors.index.json")
    with pytest.raises(ValueError, match=r"index.json is not JSON"):
        load_pretrained(tmp_path)
    for content in ("{}", '{"weight_map": 3}'):
        (tmp_path / "model.safetensors.index.json").write_text(content)
        with pytest.raises(ValueError, match=r"index\.json must map each weight to its file in `weight_map`"):
            load_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"shared.weight": "a-of-b.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"a-of-b\.safetensors is missing, but .*index\.json names it: copy or"):
        load_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no weights: it must hold model.safetensors or pytorch_model.bin"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("shard", ["../a.safetensors", "/etc/passwd", "..", "sub/a.safetensors"])
def test_shards_outside_the_folder_are_not_read(shard: str, tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    save_pretrained(T5(CONFIGS["tied"]), folder)
    (folder / "model.safetensors").rename(tmp_path / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"shared.weight": shard}}))
    with pytest.raises(
        ValueError, match=r"index\.json names '.*' in `weight_map`, but shards must be beside the index"
    ):
        load_pretrained(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    save_file({"shared.weight": weights["shared.weight"] + 1}, tmp_path / "b.safetensors")
    shards = {"weight_map": dict.fromkeys(weights, "a.safetensors") | {"shared.weight": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(ValueError, match=r"b\.safetensors has shared\.weight, which is also in another shard"):
        load_pretrained(tmp_path)


def test_json_of_endless_depth_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json is not JSON: .*; copy or download it again"):
        load_pretrained(tmp_path)


def test_what_safetensors_says_of_the_disk_is_an_error_of_the_operating_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:  # what it says on a full disk
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("architectures.t5.hf_weights.save_file", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*model\.safetensors'") as caught:
        save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    assert caught.value.errno == errno.ENOSPC


class RunsCodeWhenUnpickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


@pytest.mark.parametrize("layout", ["whole", "sharded", "pickle"])
def test_weights_that_are_not_finite_are_refused_and_named(layout: str, tmp_path: Path) -> None:
    _, theirs = make_pair(CONFIGS["tied"])
    with torch.no_grad():
        theirs.encoder.final_layer_norm.weight[3] = float("nan")
    theirs.save_pretrained(tmp_path, max_shard_size="4KB" if layout == "sharded" else "1GB")
    if layout == "pickle":
        to_pickle(tmp_path)
    file = "bin" if layout == "pickle" else "safetensors"
    with pytest.raises(ValueError, match=rf"{file} cannot be read as weights \({NORM} holds values"):
        load_pretrained(tmp_path)


def test_sparse_weights_are_refused_and_named(tmp_path: Path) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    to_pickle(tmp_path)
    weights = torch.load(tmp_path / "pytorch_model.bin")
    torch.save(weights | {NORM: weights[NORM].to_sparse()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=rf"cannot be read as weights \({NORM} of its weights is not a plain tensor"):
        load_pretrained(tmp_path)


def test_a_flipped_bit_in_a_pickle_is_noticed_and_the_tensor_named(tmp_path: Path) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    edit_weights(tmp_path, lambda w: w[NORM].copy_(torch.arange(16.0)))
    to_pickle(tmp_path)
    content = bytearray((tmp_path / "pytorch_model.bin").read_bytes())
    content[content.index(torch.arange(16.0).numpy().tobytes()) + 20] ^= 1
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"the checksum of {NORM} is wrong"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pointer_of_git_lfs_is_named_as_what_it_is(name: str, tmp_path: Path) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n")
    with pytest.raises(ValueError, match=rf"{name} is a pointer of git-lfs.*`git lfs pull`"):
        load_pretrained(tmp_path)


def test_damaged_and_malicious_files_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pretrained(T5(CONFIGS["tied"]), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"truncated")
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read as weights"):
        load_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for content in ({"shared.weight": RunsCodeWhenUnpickled()}, [nn.Linear(1, 1)]):
        torch.save(content, tmp_path / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"pytorch_model\.bin cannot be read as weights"):
            load_pretrained(tmp_path)
    assert "this ran" not in capsys.readouterr().out
    torch.save({"model": {"shared.weight": torch.zeros(2)}}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"bin .*must hold named tensors only, but 'model' is not a tensor"):
        load_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin cannot be read as weights"):
        load_pretrained(tmp_path)
