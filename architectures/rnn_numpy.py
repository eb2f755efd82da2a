"""Character RNN written out in NumPy: forward pass, back-propagation through time, Adagrad, sampling.

It reads a text one character at a time and learns to predict the next one. Run it on any text file:

    python -m architectures.rnn_numpy input.txt

It follows Andrej Karpathy's min-char-rnn (gist.github.com/karpathy/d4dee566867f8291f086, 2015), but uses the mean loss,
clips the gradient's norm, and derives the gradients line by line. `architectures/char_rnn.py` has the same network in
torch, where autograd computes the gradients, and its gated successors.

Legend: V distinct characters, H hidden units, T steps in a chunk of text. Vectors have one dimension: [H], [V].
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]  # parameters or their gradients, by name


class Step(NamedTuple):
    """Values of one forward step that the backward pass needs: ids, hidden states [H], probabilities [V]."""

    character: int
    target: int
    hidden_before: Array
    hidden: Array
    probabilities: Array


def initial_parameters(vocab_size: int, hidden_size: int, generator: np.random.Generator) -> Arrays:
    """Return small random matrices and zero biases.

    Args:
        vocab_size: Number of distinct characters, V.
        hidden_size: Number of hidden units, H.
        generator: Random generator of the matrices.
    """
    bound = hidden_size**-0.5  # so that the hidden state neither explodes nor vanishes over the steps
    return {
        "W_xh": generator.uniform(-bound, bound, (hidden_size, vocab_size)),
        "W_hh": generator.uniform(-bound, bound, (hidden_size, hidden_size)),
        "b_h": np.zeros(hidden_size),
        "W_hy": generator.uniform(-bound, bound, (vocab_size, hidden_size)),
        "b_y": np.zeros(vocab_size),
    }


def next_hidden(parameters: Arrays, character: int, hidden: Array) -> Array:
    """Return the next hidden state h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h), [H] -> [H]."""
    # x_t is one-hot, so W_xh x_t is the character's column of W_xh
    return np.tanh(parameters["W_xh"][:, character] + parameters["W_hh"] @ hidden + parameters["b_h"])


def softmax(scores: Array) -> Array:
    """Return p_k = exp(y_k) / sum_j exp(y_j). Subtracting the largest score cancels out and prevents overflow."""
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def forward(parameters: Arrays, characters: Array, targets: Array, hidden: Array) -> tuple[float, list[Step], Array]:
    """Read a chunk of text and compute the loss of its predictions.

    Args:
        parameters: Weights and biases; see `initial_parameters`.
        characters: Ids [T] of the chunk's characters.
        targets: Ids [T] of the character after each of them.
        hidden: Hidden state [H] before the chunk.

    Returns:
        The mean of -log p(target) in nats, the values of every step, and the hidden state [H] after the last step.
    """
    steps = []
    for character, target in zip(characters, targets, strict=True):
        before, hidden = hidden, next_hidden(parameters, character, hidden)
        scores = parameters["W_hy"] @ hidden + parameters["b_y"]  # y_t = W_hy h_t + b_y
        steps.append(Step(character, target, before, hidden, softmax(scores)))
    log_p = [np.log(step.probabilities[step.target]) for step in steps]
    return -float(np.mean(log_p)), steps, hidden  # L = -1/T sum_t log p_t[target]


def backward(parameters: Arrays, steps: list[Step]) -> Arrays:
    """Return the gradient of the mean loss with respect to every parameter, by back-propagation through time.

    The chain rule is applied from the last step to the first. h_t affects the loss in two ways, through y_t and through
    h_{t+1}, so its gradient is the sum of two. The parameters are shared by all steps, so their gradients are sums over
    the steps.
    """
    gradients = {name: np.zeros_like(value) for name, value in parameters.items()}
    from_later = np.zeros_like(steps[0].hidden)  # dL/dh_t through h_{t+1}: zero at the last step
    for step in reversed(steps):
        d_scores = step.probabilities / len(steps)
        d_scores[step.target] -= 1 / len(steps)  # dL/dy_t = (p_t - onehot(target)) / T
        gradients["W_hy"] += np.outer(d_scores, step.hidden)  # dL/dW_hy = sum_t dL/dy_t h_t^T
        gradients["b_y"] += d_scores  # dL/db_y = sum_t dL/dy_t
        d_hidden = parameters["W_hy"].T @ d_scores + from_later  # dL/dh_t = W_hy^T dL/dy_t + W_hh^T dL/da_{t+1}
        d_inside = (1 - step.hidden**2) * d_hidden  # h = tanh(a), so dL/da_t = (1 - h_t^2) dL/dh_t
        gradients["W_xh"][:, step.character] += d_inside  # dL/dW_xh = sum_t dL/da_t x_t^T: one column per step
        gradients["W_hh"] += np.outer(d_inside, step.hidden_before)  # dL/dW_hh = sum_t dL/da_t h_{t-1}^T
        gradients["b_h"] += d_inside  # dL/db_h = sum_t dL/da_t
        from_later = parameters["W_hh"].T @ d_inside
    return gradients


def clip_norm(gradients: Arrays, max_norm: float) -> Arrays:
    """Return the gradients scaled so that their joint norm |g| is at most `max_norm`: g min(1, max_norm / |g|).

    Each step back multiplies the gradient by W_hh^T, which may lengthen it. Over many steps it occasionally explodes,
    and a single such update would undo the training (Pascanu et al. 2013, arXiv:1211.5063, section 3.2).
    """
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values()))
    factor = min(1.0, max_norm / max(norm, 1e-12))
    return {name: gradient * factor for name, gradient in gradients.items()}


class Adagrad:
    """Adagrad optimizer: gradient descent with one learning rate per parameter element (Duchi et al. 2011).

    G_t = G_{t-1} + g_t^2 with G_0 = 0, and theta_t = theta_{t-1} - rate g_t / sqrt(G_t).

    Elements that have changed much change less from then on; the columns of rare characters keep a high rate.
    """

    def __init__(self, parameters: Arrays, rate: float = 0.1) -> None:
        self.parameters, self.rate = parameters, rate
        self.squares = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, gradients: Arrays) -> None:
        """Update the parameters in place."""
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
    """Return ids of sampled text: each character is sampled and becomes the next input.

    Args:
        parameters: Weights and biases; see `initial_parameters`.
        character: Id of the last given character.
        hidden: Hidden state [H] before that character.
        length: Number of characters to sample.
        generator: Random generator of the samples.
        temperature: Divisor of the scores y: below 1, likely characters become more likely; above 1, less so.
    """
    sampled = []
    for _ in range(length):
        hidden = next_hidden(parameters, character, hidden)
        scores = parameters["W_hy"] @ hidden + parameters["b_y"]
        probabilities = softmax(scores / temperature)  # p = softmax(y / temperature)
        character = int(generator.choice(len(probabilities), p=probabilities))
        sampled.append(character)
    return sampled


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not UTF-8, or has fewer than the two characters that training needs.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path} is not UTF-8 (byte {error.start} is 0x{byte:02x}): convert it to UTF-8") from error
    if len(text) < 2:
        raise ValueError(f"{path} has {len(text)} characters: training needs a text of at least two")
    return text


def train(text: str, hidden_size: int, chunk: int, rate: float, steps: int, report_every: int, seed: int) -> Arrays:
    """Train on the text and return the parameters, printing the loss and a sample every `report_every` steps.

    The text is read in chunks, again and again, with an optimizer step after each. The hidden state is carried from
    chunk to chunk but the gradient is not: this is truncated back-propagation.

    Args:
        text: Text of at least two characters.
        hidden_size: Number of hidden units.
        chunk: Characters per optimizer step.
        rate: Learning rate of Adagrad.
        steps: Number of optimizer steps.
        report_every: Optimizer steps between two reports.
        seed: Seed of the initial weights and the samples.
    """
    alphabet = sorted(set(text))
    id_of = {character: number for number, character in enumerate(alphabet)}
    ids = np.array([id_of[character] for character in text])
    generator = np.random.default_rng(seed)
    parameters = initial_parameters(len(alphabet), hidden_size, generator)
    optimizer = Adagrad(parameters, rate)
    smooth = np.log2(len(alphabet))  # moving average of the loss in bits, starting at that of a uniform guess
    position, hidden = 0, np.zeros(hidden_size)
    for number in range(1, steps + 1):
        if position + 1 >= len(ids):
            position, hidden = 0, np.zeros(hidden_size)  # start again with an empty memory
        characters = ids[position : min(position + chunk, len(ids) - 1)]
        targets = ids[position + 1 : position + 1 + len(characters)]
        loss, computed, hidden = forward(parameters, characters, targets, hidden)
        optimizer.step(clip_norm(backward(parameters, computed), 1.0))
        smooth += 0.01 * (loss / np.log(2) - smooth)  # one nat is 1 / log(2) bits
        position += len(characters)
        if number % report_every == 0 or number == steps:
            sampled = sample(parameters, int(targets[-1]), hidden, 200, generator)
            continuation = "".join(alphabet[i] for i in sampled)
            print(f"step {number}  {smooth:.3f} bits per character\n{continuation}\n", flush=True)
    return parameters


def main() -> None:
    """Run the command line; `--help` lists the options."""
    parser = argparse.ArgumentParser(
        prog="python -m architectures.rnn_numpy",
        description="Train a character RNN in NumPy on a text file, printing its loss and samples of its text.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("text", help="UTF-8 text file to train on")
    parser.add_argument("--hidden_size", type=int, default=128, help="number of hidden units")
    parser.add_argument(
        "--chunk", type=int, default=25, help="characters per optimizer step, over which gradients flow back"
    )
    parser.add_argument("--rate", type=float, default=0.1, help="learning rate of Adagrad")
    parser.add_argument("--steps", type=int, default=50_000, help="number of optimizer steps")
    parser.add_argument("--report_every", type=int, default=1000, help="optimizer steps between two reports")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights and the samples")
    options = parser.parse_args()
    for name in ("hidden_size", "chunk", "rate", "steps", "report_every"):
        if not 0 < getattr(options, name) < float("inf"):
            parser.error(f"--{name} must be above 0, got {getattr(options, name)}")
    if options.seed < 0:
        parser.error(f"--seed must be at least 0, got {options.seed}")
    try:
        text = read_text(options.text)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    train(text, options.hidden_size, options.chunk, options.rate, options.steps, options.report_every, options.seed)


if __name__ == "__main__":
    main()
