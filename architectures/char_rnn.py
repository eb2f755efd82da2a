"""Recurrent networks that read a text one character at a time and predict the next one.

Three hand-written cells, with each equation beside its line of code. Parameter names and layout are those of
`torch.nn.RNN`, `GRU` and `LSTM`, with which the tests compare them:

- RNN: Elman, Finding Structure in Time. Cognitive Science 14, 1990.
- LSTM: Hochreiter and Schmidhuber, Long Short-Term Memory. Neural Computation 9, 1997; forget gate: Gers et al. 2000.
- GRU: Cho et al., arXiv:1406.1078, 2014, in cuDNN's variant, which applies the reset gate after the matrix product.

Legend: B streams of text, T steps, V characters, L layers. Within a layer: I inputs, H hidden units, G gates (RNN 1,
GRU 3, LSTM 4), S state vectors (LSTM 2: h and c; otherwise 1: h).
"""

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks import check_choice, check_fraction, check_positive, check_positive_int

Cell = Literal["rnn", "gru", "lstm"]


class RecurrentLayer(nn.Module):
    """Base class of the three layers: the weights, and the loop over the steps.

    Args:
        input_size: Width of the inputs, I.
        hidden_size: Number of hidden units, H.
    """

    gates: ClassVar[int]
    """G, the number of vectors of width H that a step computes from its input."""
    memories: ClassVar[int] = 1
    """S, the number of vectors of width H passed from one step to the next; the first is the layer's output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.empty(self.gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(self.gates * hidden_size))  # torch.nn has two, but only their sum matters
        bound = hidden_size**-0.5
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.uniform_(self.weight_hh, -bound, bound)

    def project(self, inputs: Tensor) -> Tensor:
        """Return the contribution of inputs [T, B, I] to the gates, [T, B, G*H].

        One large matrix product for all steps is faster than T small ones.
        """
        return F.linear(inputs, self.weight_ih, self.bias)

    def look_up(self, characters: Tensor) -> Tensor:
        """Do the work of `project` for one-hot inputs given as ids, int64 [T, B]: look up columns of the weight."""
        columns = self.weight_ih.T.contiguous()  # so that each column is contiguous in memory
        return F.embedding(characters, columns) + self.bias

    def forward(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run the cell over all steps.

        Args:
            projected: The result of `project` or `look_up`, [T, B, G*H].
            state: The state before the first step, [S, B, H].

        Returns:
            The outputs [T, B, H], and the state after the last step [S, B, H].
        """
        memory = state.unbind(0)
        outputs = []
        for from_input in projected.unbind(0):
            memory = self.step(from_input, *memory)
            outputs.append(memory[0])
        return torch.stack(outputs), torch.stack(memory)

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Advance by one step.

        Args:
            from_input: The input's contribution to the gates, [B, G*H].
            *memory: The S state vectors, [B, H] each.

        Returns:
            The S state vectors after the step.
        """
        raise NotImplementedError


class RNNLayer(RecurrentLayer):
    """Elman's network: a single state vector, completely rewritten at every step."""

    gates = 1

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        (h,) = memory
        return (torch.addmm(from_input, h, self.weight_hh.T).tanh(),)  # h' = tanh(W_ih x + b + W_hh h)


class GRULayer(RecurrentLayer):
    """Gated recurrent unit: gates decide how much of the state to rewrite.

    The gates are r (reset), z (keep) and n (new), in this order.
    """

    gates = 3

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.bias_hn = nn.Parameter(torch.zeros(hidden_size))  # separate from `bias`, because r multiplies it

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        (h,) = memory
        size = [2 * self.hidden_size, self.hidden_size]
        input_rz, input_n = from_input.split(size, 1)
        hidden_rz, hidden_n = (h @ self.weight_hh.T).split(size, 1)
        r, z = (input_rz + hidden_rz).sigmoid().chunk(2, 1)  # r, z = sigmoid(W_ih x + b + W_hh h)
        n = (input_n + r * (hidden_n + self.bias_hn)).tanh()  # n = tanh(W_in x + b_n + r * (W_hn h + b_hn))
        return (n + z * (h - n),)  # h' = (1 - z) * n + z * h; autocast would give torch.lerp mixed dtypes


class LSTMLayer(RecurrentLayer):
    """Long short-term memory: a second state vector, c, is only scaled down and added to.

    The gates are i (input), f (forget), g (candidate) and o (output), in this order.
    """

    gates = 4
    memories = 2

    @torch.no_grad()
    def initialize_forget_gate(self, bias: float) -> None:
        """Set the bias of f: with 1, the memory keeps a share of 0.73 per step; with 0, half."""
        self.bias[self.hidden_size : 2 * self.hidden_size] = bias

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        h, c = memory
        i, f, g, o = torch.addmm(from_input, h, self.weight_hh.T).chunk(4, 1)  # W_ih x + b + W_hh h, split in four
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return o.sigmoid() * c.tanh(), c  # h' = sigmoid(o) * tanh(c')


LAYERS: dict[str, type[RecurrentLayer]] = {"rnn": RNNLayer, "gru": GRULayer, "lstm": LSTMLayer}


class CharRNN(nn.Module):
    """Character language model: stacked RNN, GRU or LSTM layers from one-hot characters to logits of the next one.

    Args:
        vocab_size: Number of characters in the vocabulary, V, at least 1; the width of the logits.
        cell: Kind of recurrent cell.
        hidden_size: Hidden units per layer, H, at least 1.
        num_layers: Number of stacked layers, L, at least 1.
        dropout: Probability, in [0, 1), of dropping an element of a layer's outputs on their way to the next layer; the
            state passed between steps is never dropped (Zaremba et al., arXiv:1409.2329, 2014).
        forget_bias: Initial bias of the forget gate of LSTM cells; ignored by other cells. With 1, gradients reach far
            back from the start of training (Jozefowicz et al. 2015, section 4); with 0, short-range patterns are
            learned sooner.
        input_bound: Initial weights of the characters in the first layer are uniform between this and its negative; if
            None, as those of `torch.nn` between `hidden_size**-0.5` and its negative. Of one-hot inputs only one weight
            counts per gate: with 4, a character alone opens or shuts gates, which otherwise takes long to learn.

    Raises:
        ValueError: An argument is invalid; the message names it and says what is allowed.
    """

    head: ClassVar[str] = "output"
    """Dotted name of the last linear layer."""

    def __init__(
        self,
        vocab_size: int,
        cell: Cell = "lstm",
        hidden_size: int = 384,
        num_layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
        input_bound: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("cell", cell, get_args(Cell))
        self.vocab_size = check_positive_int("vocab_size", vocab_size)
        self.hidden_size = check_positive_int("hidden_size", hidden_size)
        inputs = [vocab_size] + [hidden_size] * (check_positive_int("num_layers", num_layers) - 1)
        self.layers = nn.ModuleList(LAYERS[cell](width, hidden_size) for width in inputs)
        for layer in self.layers:
            if isinstance(layer, LSTMLayer):
                layer.initialize_forget_gate(forget_bias)
        if input_bound is not None:
            bound = check_positive("input_bound", input_bound)
            nn.init.uniform_(self.layers[0].weight_ih, -bound, bound)  # type: ignore[arg-type]
        self.memories = LAYERS[cell].memories
        self.dropout = nn.Dropout(check_fraction("dropout", dropout))
        self.output = nn.Linear(hidden_size, vocab_size)

    def initial_state(self, streams: int) -> Tensor:
        """Return the state before any input for the given number of streams, zeros [L, S, B, H]."""
        return self.output.weight.new_zeros(len(self.layers), self.memories, streams, self.hidden_size)

    def forward(
        self, characters: Tensor, state: Tensor | None = None, known: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read characters and predict the one after each.

        Args:
            characters: Ids, int64 [B, T] with T >= 1.
            state: The state after the characters read before, [L, S, B, H]; if None, reading starts here.
            known: Number of ids to score, starting at 0, which costs less than scoring all V; if None, all.

        Returns:
            Logits of the character after each, [B, T, V or known], and the state after the last, [L, S, B, H]. The
            state is part of the autograd graph: `detach()` it where gradients must not flow further back.
        """
        if state is None:
            state = self.initial_state(len(characters))
        outputs = characters.T  # [T, B]
        states = []
        for number, (layer, memory) in enumerate(zip(self.layers, state, strict=True)):
            assert isinstance(layer, RecurrentLayer)
            projected = layer.look_up(outputs) if number == 0 else layer.project(outputs)
            outputs, memory = layer(projected, memory)
            outputs = self.dropout(outputs)  # [T, B, H]
            states.append(memory)
        return self.score(outputs, known).transpose(0, 1), torch.stack(states)

    def score(self, outputs: Tensor, known: int | None = None) -> Tensor:
        """Return logits [..., V] for outputs [..., H], or [..., known] if only ids below `known` are scored."""
        if known is None:
            return self.output(outputs)
        return F.linear(outputs, self.output.weight[:known], self.output.bias[:known])

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        length: int,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        known: int | None = None,
    ) -> Tensor:
        """Continue a prompt, sampling each character from softmax(logits / temperature) and reading it as next input.

        Args:
            prompt: Ids, int64 [B, P] with P >= 1.
            length: Number of characters to sample.
            temperature: Above 0: low values favour the most likely characters, 1 keeps the model's distribution, high
                values approach a uniform one.
            generator: Generator on the CPU, where characters are sampled so that every device gives the same ones.
            known: Number of ids to sample from, starting at 0; if None, all.

        Returns:
            Sampled ids, int64 [B, length].

        Raises:
            ValueError: `temperature` is not above 0.
        """
        check_positive("temperature", temperature)
        sampled: list[Tensor] = []
        state: Tensor | None = None
        read = prompt
        for _ in range(length):
            logits, state = self(read, state, known)
            probabilities = (logits[:, -1].cpu().double() / temperature).softmax(1)
            read = torch.multinomial(probabilities, 1, generator=generator).to(prompt.device)  # [B, 1]
            sampled.append(read)
        return torch.cat(sampled, 1) if sampled else prompt[:, :0]
