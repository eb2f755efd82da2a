"""Tests of the NumPy RNN: gradients against finite differences and autograd, the rest against formulas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from architectures.char_rnn import CharRNN
from architectures.rnn_numpy import (
    Adagrad,
    Arrays,
    backward,
    clip_norm,
    forward,
    initial_parameters,
    next_hidden,
    read_text,
    sample,
    train,
)

ROOT = Path(__file__).parents[2]
VOCAB, HIDDEN, STEPS = 7, 5, 9


@pytest.fixture
def parameters() -> Arrays:
    generator = np.random.default_rng(0)
    parameters = initial_parameters(VOCAB, HIDDEN, generator)
    return {name: generator.normal(0, 0.6, value.shape) for name, value in parameters.items()}  # biases too


@pytest.fixture
def chunk() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    ids = generator.integers(0, VOCAB - 1, STEPS + 1)  # the last character of the vocabulary never occurs
    return ids[:-1], ids[1:], generator.normal(0, 0.5, HIDDEN)


def relative_error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_gradients_equal_finite_differences(parameters, chunk):
    gradients = backward(parameters, forward(parameters, *chunk)[1])
    for name, value in parameters.items():
        numeric = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            before = value[place]
            losses = []
            for shift in (1e-5, -1e-5):
                value[place] = before + shift
                losses.append(forward(parameters, *chunk)[0])
            value[place] = before
            numeric[place] = (losses[0] - losses[1]) / 2e-5
        assert relative_error(gradients[name], numeric) < 1e-6, name
    assert not gradients["W_xh"][:, VOCAB - 1].any()  # no gradient for a character that does not occur


def twin_of(parameters: Arrays) -> CharRNN:
    """Return the same network in torch."""
    twin = CharRNN(VOCAB, cell="rnn", hidden_size=HIDDEN).double()
    names = ("weight_ih", "W_xh"), ("weight_hh", "W_hh"), ("bias", "b_h")
    state = {f"layers.0.{ours}": parameters[name] for ours, name in names}
    state |= {"output.weight": parameters["W_hy"], "output.bias": parameters["b_y"]}
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return twin


def test_loss_gradients_and_hidden_state_equal_torch(parameters, chunk):
    loss, steps, hidden = forward(parameters, *chunk)
    gradients = backward(parameters, steps)
    twin = twin_of(parameters)
    characters, targets, before = (torch.from_numpy(part) for part in chunk)

    logits, state = twin(characters[None], before.view(1, 1, 1, HIDDEN))
    expected = F.cross_entropy(logits[0], targets)
    expected.backward()

    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert relative_error(hidden, state.detach().numpy().ravel()) < 1e-12
    layer = twin.layers[0]
    pairs: dict[str, Tensor] = {
        "W_xh": layer.weight_ih,  # type: ignore[dict-item]
        "W_hh": layer.weight_hh,  # type: ignore[dict-item]
        "b_h": layer.bias,  # type: ignore[dict-item]
        "W_hy": twin.output.weight,
        "b_y": twin.output.bias,
    }
    for name, parameter in pairs.items():
        assert parameter.grad is not None
        assert relative_error(gradients[name], parameter.grad.numpy()) < 1e-8, name


def test_adagrad_equals_torch(parameters):
    ours = {name: value.copy() for name, value in parameters.items()}
    theirs = [torch.from_numpy(value.copy()).requires_grad_() for value in parameters.values()]
    one, other = Adagrad(ours, rate=0.05), torch.optim.Adagrad(theirs, lr=0.05, eps=1e-8)
    generator = np.random.default_rng(2)
    for _ in range(3):
        gradients = {name: generator.normal(size=value.shape) for name, value in ours.items()}
        for tensor, gradient in zip(theirs, gradients.values(), strict=True):
            tensor.grad = torch.from_numpy(gradient)
        one.step(gradients)
        other.step()
    for value, tensor in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(value, tensor.detach().numpy(), rtol=1e-12)


def test_clipping_equals_torch_and_keeps_short_gradients(parameters):
    tensors = [torch.zeros(value.shape, dtype=torch.float64) for value in parameters.values()]
    for tensor, value in zip(tensors, parameters.values(), strict=True):
        tensor.grad = torch.from_numpy(value.copy())
    torch.nn.utils.clip_grad_norm_(tensors, 0.5)
    for clipped, tensor in zip(clip_norm(parameters, 0.5).values(), tensors, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(clipped, tensor.grad.numpy(), rtol=1e-5)  # torch adds 1e-6 to the norm
    for clipped, value in zip(clip_norm(parameters, 1e3).values(), parameters.values(), strict=True):
        assert np.array_equal(clipped, value)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_probabilities(parameters, temperature):
    hidden = np.linspace(-1, 1, HIDDEN)
    scores = parameters["W_hy"] @ next_hidden(parameters, 3, hidden) + parameters["b_y"]
    expected = torch.from_numpy(scores / temperature).softmax(0).numpy()
    generator = np.random.default_rng(3)
    sampled = [sample(parameters, 3, hidden, 1, generator, temperature)[0] for _ in range(4000)]
    shares = np.bincount(sampled, minlength=VOCAB) / 4000
    np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / 4000**0.5)


def test_sample_reads_its_own_output(parameters):
    """Near temperature zero, each character must be the most likely one after those before it."""
    written = sample(parameters, 2, np.zeros(HIDDEN), 8, np.random.default_rng(0), temperature=1e-4)
    _, steps, _ = forward(parameters, np.array([2, *written[:-1]]), np.array(written), np.zeros(HIDDEN))
    assert written == [int(step.probabilities.argmax()) for step in steps]


def test_learns_a_deterministic_text(capsys):
    """In "abac...", only memory tells whether "b" or "c" follows an "a"."""
    train("abac" * 20, hidden_size=16, chunk=10, rate=0.1, steps=1200, report_every=1200, seed=0)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("step 1200") and float(line.split()[2]) < 0.1


def test_errors_name_the_file_or_option_in_the_last_line(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes("über".encode("latin-1"))
    with pytest.raises(ValueError, match="has 0 characters"):
        read_text(tmp_path / "empty.txt")
    with pytest.raises(ValueError, match="byte 0 is 0xfc"):
        read_text(tmp_path / "latin.txt")
    command = [sys.executable, "-m", "architectures.rnn_numpy"]
    ended = subprocess.run([*command, str(tmp_path / "empty.txt")], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "has 0 characters" in ended.stderr.splitlines()[-1]
    ended = subprocess.run([*command, "README.md", "--chunk", "0"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "--chunk must be above 0" in ended.stderr.splitlines()[-1]
