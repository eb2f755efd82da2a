"""Weights for a T5: a published checkpoint against transformers, one of this program, and those that do not fit."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.pretrained_t5 import load_weights
from tests.close import assert_close
from tests.lightning_modules.text_fakes import Data, network


def test_what_transformers_wrote_gives_its_logits(published):
    net, batch = network(dropout_rate=0.3), Data().whole()
    assert load_weights(net, str(published.path)) is None  # there is no tokenizer
    with torch.no_grad():
        theirs = published.model(batch.input_ids, batch.attention_mask, labels=batch.labels).logits
        ours = net.eval()(batch.input_ids, batch.attention_mask, net.shift_right(batch.labels))
    assert_close(ours, theirs)


def test_the_pieces_of_a_published_tokenizer_are_returned(published):
    tokenizer = Data().tokenizer
    tokenizer.save(str(published.path / "tokenizer.json"))
    assert load_weights(network(), str(published.path)) == tokenizer.get_vocab()


def test_a_damaged_tokenizer_of_a_published_checkpoint_is_named(published):
    (published.path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read"):
        load_weights(network(), str(published.path))


def test_each_field_that_differs_is_named_and_nothing_is_copied(published):
    net = network(d_ff=48, num_layers=2)
    before = copied(net.state_dict())
    with pytest.raises(ValueError, match=r"published.*d_ff 32 \(not 48\).*num_layers 1 \(not 2\)"):
        load_weights(net, str(published.path))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_source_that_does_not_exist_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_weights(network(), "nowhere")


def test_a_checkpoint_of_this_program_gives_all_weights_and_its_pieces(own_checkpoint):
    net = network(layer_norm_epsilon=1e-3, dropout_rate=0.3)
    assert not torch.equal(net.embedding.weight, own_checkpoint.network.embedding.weight)
    assert load_weights(net, str(own_checkpoint.path)) == own_checkpoint.pieces
    theirs = own_checkpoint.network.state_dict()
    assert net.state_dict().keys() == theirs.keys()
    for name, value in net.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_a_field_that_no_weight_shows_must_agree_too(own_checkpoint):
    with pytest.raises(ValueError, match=r"own\.ckpt.*layer_norm_epsilon 0\.001 \(not 1e-06\)"):
        load_weights(network(), str(own_checkpoint.path))


def test_a_truncated_checkpoint_is_named(own_checkpoint):
    content = own_checkpoint.path.read_bytes()
    own_checkpoint.path.write_bytes(content[:-900])
    with pytest.raises(ValueError, match=r"init_from: .*own\.ckpt cannot be read"):
        load_weights(network(layer_norm_epsilon=1e-3), str(own_checkpoint.path))


@pytest.mark.parametrize("change", ["hyper_parameters", "text_seq2seq", "config"])
def test_a_checkpoint_of_something_else_is_named(own_checkpoint, change):
    """More than plain data, another model's state, another model's config."""
    content = torch.load(own_checkpoint.path, weights_only=True)
    if change == "hyper_parameters":
        content["hyper_parameters"] = {"architecture": own_checkpoint.network}
    elif change == "text_seq2seq":
        content["image_classifier"] = content.pop("text_seq2seq")
    else:
        content["config"] = {"model": {"init_args": {"architecture": {"init_args": {"depth": 18}}}}}
    torch.save(content, own_checkpoint.path)
    with pytest.raises(
        ValueError, match=r"init_from: .*own\.ckpt (is not a checkpoint of a T5|cannot be read .*not plain data)"
    ):
        load_weights(network(layer_norm_epsilon=1e-3), str(own_checkpoint.path))


def test_altered_weights_of_a_checkpoint_are_refused_and_named(own_checkpoint):
    content = torch.load(own_checkpoint.path, weights_only=True)
    content["state_dict"]["architecture.embedding.weight"][1, 1] += 1
    torch.save(content, own_checkpoint.path)
    with pytest.raises(ValueError, match=r"own\.ckpt .*architecture\.embedding\.weight of its weights was altered"):
        load_weights(network(layer_norm_epsilon=1e-3), str(own_checkpoint.path))


def copied(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_a_weight_that_is_missing_is_named_in_one_line(own_checkpoint):
    checkpoint = torch.load(own_checkpoint.path, weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.startswith("architecture."))
    del checkpoint["state_dict"][name]
    checkpoint.pop("digests", None)
    torch.save(checkpoint, own_checkpoint.path)
    with pytest.raises(ValueError, match=f"missing {name.removeprefix('architecture.')}") as told:
        load_weights(network(layer_norm_epsilon=1e-3), str(own_checkpoint.path))
    assert "\n" not in str(told.value)
