"""Tests of CharRNN: cells against torch's with the same weights; state, dropout and sampling by definition."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.char_rnn import CharRNN
from tests.close import assert_close

VOCAB, HIDDEN, STREAMS, STEPS = 11, 6, 3, 8
CELLS = ["rnn", "gru", "lstm"]


def characters(streams: int = STREAMS, steps: int = STEPS) -> Tensor:
    return torch.randint(0, VOCAB, (streams, steps), generator=torch.Generator().manual_seed(0))


def network(cell: Any, num_layers: int = 1, **arguments: Any) -> CharRNN:
    torch.manual_seed(1)
    net = CharRNN(VOCAB, cell=cell, hidden_size=HIDDEN, num_layers=num_layers, **arguments)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -0.6, 0.6)  # biases too, which are zero in a new network
    return net


def reference(net: CharRNN, cell: str) -> nn.RNNBase:
    """Return torch's network with our weights; its second bias is zero except in the new gate of a GRU."""
    theirs = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](VOCAB, HIDDEN, len(net.layers), batch_first=True)
    state = {}
    for number, layer in enumerate(net.layers):
        ours = {name: value.detach() for name, value in layer.named_parameters()}
        state[f"weight_ih_l{number}"], state[f"weight_hh_l{number}"] = ours["weight_ih"], ours["weight_hh"]
        state[f"bias_ih_l{number}"] = ours["bias"]
        hidden = torch.zeros_like(ours["bias"])
        if cell == "gru":
            hidden[-HIDDEN:] = ours["bias_hn"]
        state[f"bias_hh_l{number}"] = hidden
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_state_and_gradients_equal_torch(cell, num_layers):
    net = network(cell, num_layers)
    theirs = reference(net, cell)
    ids = characters()
    state = torch.randn(num_layers, net.memories, STREAMS, HIDDEN, generator=torch.Generator().manual_seed(2))
    logits, after = net(ids, state)

    h, c = state[:, 0].contiguous(), state[:, -1].contiguous()
    outputs, last = theirs(F.one_hot(ids, VOCAB).float(), (h, c) if cell == "lstm" else h)
    expected = net.output(outputs)
    assert_close(logits, expected)
    memories = last if cell == "lstm" else (last,)
    assert_close(after, torch.stack(memories, 1))

    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    (logits * weight).sum().backward()
    (expected * weight).sum().backward()
    for number, layer in enumerate(net.layers):
        for name in ("weight_ih", "weight_hh"):
            ours, other = getattr(layer, name).grad, getattr(theirs, f"{name}_l{number}").grad
            assert_close(ours, other)
        assert_close(layer.bias.grad, getattr(theirs, f"bias_ih_l{number}").grad)


@pytest.mark.parametrize("cell", CELLS)
def test_bf16_autocast_is_close_to_float32(cell):
    """Check two layers: the gates of the second are in bf16, its state is not."""
    net, ids = network(cell, num_layers=2), characters()
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = net(ids)
        logits.float().square().mean().backward()
    expected, _ = net(ids)
    assert_close(logits, expected, units=4, dtype=torch.bfloat16)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_with_carried_state_equal_one_long_sequence(cell):
    net = network(cell, num_layers=2).double()
    ids = characters(steps=20)
    whole, after = net(ids)
    parts, state = [], None
    for chunk in ids.split([7, 1, 12], 1):
        logits, state = net(chunk, state)
        parts.append(logits)
    assert_close(torch.cat(parts, 1), whole)
    assert_close(state, after)


@pytest.mark.parametrize("cell", CELLS)
def test_logits_ignore_later_characters_and_other_streams(cell):
    """A character must change the logits of its own stream from its position on, and no others."""
    net, ids = network(cell, num_layers=2), characters()
    changed = ids.clone()
    changed[1, 4] = (ids[1, 4] + 1) % VOCAB
    differs = (net(ids)[0] != net(changed)[0]).any(2)
    expected = torch.zeros(STREAMS, STEPS, dtype=torch.bool)
    expected[1, 4:] = True
    assert torch.equal(differs, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_receives_a_gradient(cell):
    net = network(cell, num_layers=2)
    net(characters())[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_dropout_does_not_affect_the_state():
    """The state of the first layer must be the same with dropout as without."""
    net, ids = network("lstm", num_layers=2, dropout=0.5), characters()
    plain_logits, plain = net.eval()(ids)
    torch.manual_seed(0)
    logits, state = net.train()(ids)
    assert torch.equal(state[0], plain[0])
    assert not torch.equal(state[1], plain[1]) and not torch.allclose(logits, plain_logits)


def test_forget_gate_bias_of_a_new_lstm_is_one():
    torch.manual_seed(0)
    bias = CharRNN(VOCAB, hidden_size=HIDDEN).layers[0].bias
    assert torch.equal(bias, torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(HIDDEN))


@pytest.mark.parametrize(("input_bound", "expected"), [(None, HIDDEN**-0.5), (4.0, 4.0)])
def test_weights_of_characters_have_the_bound_that_is_given(input_bound, expected):
    torch.manual_seed(0)
    first, second = CharRNN(VOCAB, hidden_size=HIDDEN, num_layers=2, input_bound=input_bound).layers
    assert 0.9 * expected < first.weight_ih.abs().max() <= expected
    for usual in (first.weight_hh, second.weight_ih):
        assert usual.abs().max() <= HIDDEN**-0.5


def test_generate_samples_from_the_tempered_probabilities():
    net, prompt = network("gru"), characters(1, 5)
    many = prompt.expand(6000, -1)
    sampled = net.generate(many, 1, temperature=2.0, generator=torch.Generator().manual_seed(0), known=8)
    expected = (net(prompt)[0][0, -1, :8] / 2).softmax(0)
    shares = torch.bincount(sampled.flatten(), minlength=VOCAB) / len(many)
    assert shares[8:].sum() == 0
    torch.testing.assert_close(shares[:8], expected.detach(), rtol=0, atol=4 * 0.5 / 6000**0.5)


@pytest.mark.parametrize("cell", CELLS)
def test_generate_reads_its_own_output(cell):
    """Near temperature zero, each character must be the most likely one after the prompt and those before it."""
    net, prompt = network(cell, num_layers=2), characters(2, 4)
    written = net.generate(prompt, 10, temperature=1e-4)
    logits = net(torch.cat([prompt, written], 1))[0]
    assert torch.equal(written, logits[:, 3:-1].argmax(2))
    assert net.generate(prompt, 0).shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"cell": "elman"}, "cell must be one of 'rnn', 'gru', 'lstm'"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"input_bound": 0.0}, "input_bound"),
    ],
)
def test_errors_name_invalid_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        CharRNN(**{"vocab_size": VOCAB, **arguments})


def test_temperature_zero_is_rejected():
    with pytest.raises(ValueError, match="temperature"):
        network("rnn").generate(characters(), 1, temperature=0.0)
