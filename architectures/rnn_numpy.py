"""A character RNN in NumPy, with nothing hidden: forward pass, back-propagation through time, Adagrad, sampling.

It reads a text one character at a time and learns to say which comes next. Run it on any text file:

    python -m architectures.rnn_numpy input.txt

After Andrej Karpathy's min-char-rnn (gist.github.com/karpathy/d4dee566867f8291f086, 2015), with the mean loss, a
clipped norm, and gradients derived line by line. `architectures/char_rnn.py` has the same network in torch, where
autograd finds the gradients, and its gated successors.

Legend: V different characters, H hidden units, T steps of one chunk of text. Vectors are columns of no width: [H], [V].
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]  # parameters, or their gradients, by name


class Step(NamedTuple):
    """What one step of the forward pass leaves for the backward pass: ids, hidden states [H], probabilities [V]."""

    character: int
    target: int
    hidden_before: Array
    hidden: Array
    probabilities: Array


def initial_parameters(vocab_size: int, hidden_size: int, generator: np.random.Generator) -> Arrays:
    """Small random matrices, zero biases.

    Args:
        vocab_size: V, how many different characters there are.
        hidden_size: H, how many numbers the network remembers the past in.
        generator: Draws the matrices.
    """
    bound = hidden_size**-0.5  # a sum of H products then neither explodes nor dies out over the steps
    return {
        "W_xh": generator.uniform(-bound, bound, (hidden_size, vocab_size)),
        "W_hh": generator.uniform(-bound, bound, (hidden_size, hidden_size)),
        "b_h": np.zeros(hidden_size),
        "W_hy": generator.uniform(-bound, bound, (vocab_size, hidden_size)),
        "b_y": np.zeros(vocab_size),
    }


def next_hidden(parameters: Arrays, character: int, hidden: Array) -> Array:
    """One step of the memory: h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h), [H] -> [H]."""
    # x_t is all zeros but for a one at the character's place, so W_xh x_t is that column of W_xh
    return np.tanh(parameters["W_xh"][:, character] + parameters["W_hh"] @ hidden + parameters["b_h"])


def softmax(scores: Array) -> Array:
    """p_k = exp(y_k) / sum_j exp(y_j); the largest score is taken off first, which cancels and cannot overflow."""
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def forward(parameters: Arrays, characters: Array, targets: Array, hidden: Array) -> tuple[float, list[Step], Array]:
    """Reads a chunk and scores each prediction.

    Args:
        parameters: See `initial_parameters`.
        characters: Ids [T] of the chunk's characters.
        targets: Ids [T] of the characters that follow each.
        hidden: The memory [H] of what came before the chunk.

    Returns:
        The mean of -log p(target) in nats, every step, and the memory [H] after the last.
    """
    steps = []
    for character, target in zip(characters, targets, strict=True):
        before, hidden = hidden, next_hidden(parameters, character, hidden)
        scores = parameters["W_hy"] @ hidden + parameters["b_y"]  # y_t = W_hy h_t + b_y
        steps.append(Step(character, target, before, hidden, softmax(scores)))
    log_p = [np.log(step.probabilities[step.target]) for step in steps]
    return -float(np.mean(log_p)), steps, hidden  # L = -1/T sum_t log p_t[target]


def backward(parameters: Arrays, steps: list[Step]) -> Arrays:
    """Back-propagation through time: the gradient of the mean loss with respect to every parameter.

    The chain rule from the last step to the first. h_t acts on the loss in two ways, through y_t and through h_{t+1},
    so two gradients meet in it. Those of the parameters, the same at every step, are sums over the steps.
    """
    gradients = {name: np.zeros_like(value) for name, value in parameters.items()}
    from_later = np.zeros_like(steps[0].hidden)  # dL/dh_t by way of h_{t+1}: nothing follows the last step
    for step in reversed(steps):
        d_scores = step.probabilities / len(steps)
        d_scores[step.target] -= 1 / len(steps)  # dL/dy_t = (p_t - onehot(target)) / T
        gradients["W_hy"] += np.outer(d_scores, step.hidden)  # dL/dW_hy = sum_t dL/dy_t h_t^T
        gradients["b_y"] += d_scores  # dL/db_y = sum_t dL/dy_t
        d_hidden = parameters["W_hy"].T @ d_scores + from_later  # dL/dh_t = W_hy^T dL/dy_t + W_hh^T dL/da_{t+1}
        d_inside = (1 - step.hidden**2) * d_hidden  # h = tanh(a), so dL/da_t = (1 - h_t^2) dL/dh_t
        gradients["W_xh"][:, step.character] += d_inside  # dL/dW_xh = sum_t dL/da_t x_t^T: one column each
        gradients["W_hh"] += np.outer(d_inside, step.hidden_before)  # dL/dW_hh = sum_t dL/da_t h_{t-1}^T
        gradients["b_h"] += d_inside  # dL/db_h = sum_t dL/da_t
        from_later = parameters["W_hh"].T @ d_inside
    return gradients


def clip_norm(gradients: Arrays, most: float) -> Arrays:
    """Shortens the gradient, all of it taken as one vector g, to a length of `most`: g min(1, most / |g|).

    Each step back multiplies by W_hh^T and may stretch; over many steps a gradient explodes now and then, and one such
    step would undo the training (Pascanu et al. 2013, arXiv:1211.5063, section 3.2).
    """
    length = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values()))
    factor = min(1.0, most / max(length, 1e-12))
    return {name: gradient * factor for name, gradient in gradients.items()}


class Adagrad:
    """Gradient descent with a rate of its own for each number (Duchi et al. 2011), G_0 = 0:

    G_t = G_{t-1} + g_t^2, theta_t = theta_{t-1} - rate g_t / sqrt(G_t).

    What has moved much moves less from then on; the rarely seen characters' columns keep a high rate.
    """

    def __init__(self, parameters: Arrays, rate: float = 0.1) -> None:
        self.parameters, self.rate = parameters, rate
        self.squares = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, gradients: Arrays) -> None:
        """Changes the parameters in place."""
        for name, gradient in gradients.items():
            self.squares[name] += gradient**2
            self.parameters[name] -= self.rate * gradient / (np.sqrt(self.squares[name]) + 1e-8)


def sample(
    parameters: Arrays,
    character: int,
    hidden: Array,
    length: int,
    generator: np.random.Generator,
    temperature: float = 1.0,
) -> list[int]:
    """Writes on: draws a character, reads it as the next input, and so forth.

    Args:
        parameters: See `initial_parameters`.
        character: Id of the last character that is given.
        hidden: The memory [H] of what came before it.
        length: How many to draw.
        generator: Draws them.
        temperature: Divides the scores y: below 1 the likely becomes likelier, above 1 all become more alike.
    """
    written = []
    for _ in range(length):
        hidden = next_hidden(parameters, character, hidden)
        scores = parameters["W_hy"] @ hidden + parameters["b_y"]
        probabilities = softmax(scores / temperature)  # p = softmax(y / temperature)
        character = int(generator.choice(len(probabilities), p=probabilities))
        written.append(character)
    return written


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        ValueError: It is not UTF-8, or has fewer than two characters: none to learn from.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}") from error
    if len(text) < 2:
        raise ValueError(f"{path} has {len(text)} characters: there must be two at least, one to follow another")
    return text


def train(text: str, hidden_size: int, chunk: int, rate: float, steps: int, report_every: int, seed: int) -> Arrays:
    """Reads the text chunk by chunk, over and over, and takes a step after each; prints the loss and a sample.

    The memory goes on from chunk to chunk, the gradient does not: that is what "truncated" back-propagation means.
    """
    alphabet = sorted(set(text))
    ids = np.array([alphabet.index(character) for character in text])
    generator = np.random.default_rng(seed)
    parameters = initial_parameters(len(alphabet), hidden_size, generator)
    optimizer = Adagrad(parameters, rate)
    position, hidden, smooth = 0, np.zeros(hidden_size), np.log2(len(alphabet))  # bits of a guess at random
    for number in range(1, steps + 1):
        if position + 1 >= len(ids):
            position, hidden = 0, np.zeros(hidden_size)  # from the beginning, with an empty memory
        characters = ids[position : min(position + chunk, len(ids) - 1)]
        targets = ids[position + 1 : position + 1 + len(characters)]
        loss, computed, hidden = forward(parameters, characters, targets, hidden)
        optimizer.step(clip_norm(backward(parameters, computed), 1.0))
        smooth += 0.01 * (loss / np.log(2) - smooth)  # a nat is 1 / log 2 bits
        position += len(characters)
        if number % report_every == 0 or number == steps:
            drawn = sample(parameters, int(targets[-1]), hidden, 200, generator)
            written = "".join(alphabet[i] for i in drawn)
            print(f"step {number}  {smooth:.3f} bits per character\n{written}\n", flush=True)
    return parameters


def main() -> None:
    """The command line; `-h` lists the options."""
    parser = argparse.ArgumentParser(prog="python -m architectures.rnn_numpy", description="A character RNN in NumPy.")
    parser.add_argument("text", help="a UTF-8 text file to learn")
    parser.add_argument("--hidden_size", type=int, default=128, help="numbers to remember the past in")
    parser.add_argument("--chunk", type=int, default=25, help="characters between two steps: how far gradients go back")
    parser.add_argument("--rate", type=float, default=0.1, help="Adagrad's learning rate")
    parser.add_argument("--steps", type=int, default=50_000, help="steps to take")
    parser.add_argument("--report_every", type=int, default=1000, help="steps from one sample to the next")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first weights and of the samples")
    options = parser.parse_args()
    for name in ("hidden_size", "chunk", "rate", "steps", "report_every"):
        if not 0 < getattr(options, name) < float("inf"):
            parser.error(f"--{name} must be above 0, got {getattr(options, name)}")
    if options.seed < 0:
        parser.error(f"--seed must not be negative, got {options.seed}")
    try:
        text = read_text(options.text)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    train(text, options.hidden_size, options.chunk, options.rate, options.steps, options.report_every, options.seed)


if __name__ == "__main__":
    main()
