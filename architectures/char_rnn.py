"""Recurrent networks that read a text one character at a time and say which comes next.

Three cells by hand, with the equations beside their lines, under the names and in the layout of `torch.nn.RNN`, `GRU`
and `LSTM` (which tests compare them with):

- RNN: Elman, Finding Structure in Time. Cognitive Science 14, 1990.
- LSTM: Hochreiter and Schmidhuber, Long Short-Term Memory. Neural Computation 9, 1997; forget gate: Gers et al. 2000.
- GRU: Cho et al., arXiv:1406.1078, 2014, in the variant of cuDNN, which resets after the matrix product.

Legend: B streams of text, T steps, V characters, L layers; of a layer: I inputs, H hidden units, G gates (RNN 1, GRU 3,
LSTM 4), S vectors of memory (LSTM 2: h and c; else 1: h).
"""

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks import check_choice, check_fraction, check_positive, check_positive_int

Cell = Literal["rnn", "gru", "lstm"]


class RecurrentLayer(nn.Module):
    """Base of the three layers: the weights, and the loop over the steps.

    Args:
        input_size: I.
        hidden_size: H.
    """

    gates: ClassVar[int]
    """G, how many vectors of H numbers a step computes from its input."""
    memories: ClassVar[int] = 1
    """S, how many vectors of H numbers go from one step to the next; the first is the layer's output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.empty(self.gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(self.gates * hidden_size))  # torch.nn has two, which only ever add up
        bound = hidden_size**-0.5
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.uniform_(self.weight_hh, -bound, bound)

    def project(self, inputs: Tensor) -> Tensor:
        """What all inputs [T, B, I] contribute to all gates [T, B, G*H]: one large product in place of T small ones."""
        return F.linear(inputs, self.weight_ih, self.bias)

    def look_up(self, characters: Tensor) -> Tensor:
        """`project` for one-hot vectors given by their ids, int64 [T, B]: each product is a column of the matrix."""
        columns = self.weight_ih.T.contiguous()  # one after the other in memory
        return F.embedding(characters, columns) + self.bias

    def forward(self, projected: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Runs over the steps.

        Args:
            projected: What `project` or `look_up` returned, [T, B, G*H].
            state: The memory before the first step, [S, B, H].

        Returns:
            The outputs [T, B, H], and the memory after the last step, [S, B, H].
        """
        memory = state.unbind(0)
        outputs = []
        for from_input in projected.unbind(0):
            memory = self.step(from_input, *memory)
            outputs.append(memory[0])
        return torch.stack(outputs), torch.stack(memory)

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """One step: the input's share of the gates [B, G*H] and S vectors of memory [B, H] -> the next S vectors."""
        raise NotImplementedError


class RNNLayer(RecurrentLayer):
    """Elman's network: one vector of memory, wholly rewritten at every step."""

    gates = 1

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        (h,) = memory
        return (torch.addmm(from_input, h, self.weight_hh.T).tanh(),)  # h' = tanh(W_ih x + b + W_hh h)


class GRULayer(RecurrentLayer):
    """Gates decide how much of the memory to rewrite; gates r (reset), z (keep) and n (new), in this order."""

    gates = 3

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.bias_hn = nn.Parameter(torch.zeros(hidden_size))  # its own, because r multiplies it

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        (h,) = memory
        size = [2 * self.hidden_size, self.hidden_size]
        input_rz, input_n = from_input.split(size, 1)
        hidden_rz, hidden_n = (h @ self.weight_hh.T).split(size, 1)
        r, z = (input_rz + hidden_rz).sigmoid().chunk(2, 1)  # r, z = sigmoid(W_ih x + b + W_hh h)
        n = (input_n + r * (hidden_n + self.bias_hn)).tanh()  # n = tanh(W_in x + b_n + r * (W_hn h + b_hn))
        return (n + z * (h - n),)  # h' = (1 - z) * n + z * h; not torch.lerp, which autocast gives mixed types


class LSTMLayer(RecurrentLayer):
    """A second memory, c, that is only added to and faded out: gates i (write), f (keep), g (what), o (show)."""

    gates = 4
    memories = 2

    @torch.no_grad()
    def open_forget_gate(self, bias: float) -> None:
        """Sets the first bias of f: at 1 the memory keeps 0.73 of itself at a step, at 0 half."""
        self.bias[self.hidden_size : 2 * self.hidden_size] = bias

    def step(self, from_input: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        h, c = memory
        i, f, g, o = torch.addmm(from_input, h, self.weight_hh.T).chunk(4, 1)  # W_ih x + b + W_hh h, cut in four
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return o.sigmoid() * c.tanh(), c  # h' = sigmoid(o) * tanh(c')


LAYERS: dict[str, type[RecurrentLayer]] = {"rnn": RNNLayer, "gru": GRULayer, "lstm": LSTMLayer}


class CharRNN(nn.Module):
    """Layers of RNN, GRU or LSTM cells between one-hot characters and the scores of the next one.

    Args:
        vocab_size: V, how many different characters there is room for.
        cell: What the layers are made of.
        hidden_size: H, the width of each layer.
        num_layers: L, layers upon one another.
        dropout: Share dropped of each layer's outputs on their way up, never of what goes from step to step
            (Zaremba et al., arXiv:1409.2329, 2014).
        forget_bias: Of LSTM cells, the first bias of the gate that keeps the memory. 1 lets gradients reach far from
            the beginning (Jozefowicz et al. 2015, section 4); 0 learns sooner what is near.

    Raises:
        ValueError: An argument is impossible; the message names it and says what is allowed.
    """

    head: ClassVar[str] = "output"
    """Dotted name of the last layer."""

    def __init__(
        self,
        vocab_size: int,
        cell: Cell = "lstm",
        hidden_size: int = 384,
        num_layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        check_choice("cell", cell, get_args(Cell))
        self.vocab_size = check_positive_int("vocab_size", vocab_size)
        self.hidden_size = check_positive_int("hidden_size", hidden_size)
        inputs = [vocab_size] + [hidden_size] * (check_positive_int("num_layers", num_layers) - 1)
        self.layers = nn.ModuleList(LAYERS[cell](width, hidden_size) for width in inputs)
        for layer in self.layers:
            if isinstance(layer, LSTMLayer):
                layer.open_forget_gate(forget_bias)
        self.memories = LAYERS[cell].memories
        self.dropout = nn.Dropout(check_fraction("dropout", dropout))
        self.output = nn.Linear(hidden_size, vocab_size)

    def initial_state(self, streams: int) -> Tensor:
        """An empty memory for so many streams, zeros [L, S, B, H]."""
        return self.output.weight.new_zeros(len(self.layers), self.memories, streams, self.hidden_size)

    def forward(
        self, characters: Tensor, state: Tensor | None = None, known: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reads on.

        Args:
            characters: Ids, int64 [B, T] with T >= 1.
            state: The memory of what came before, [L, S, B, H]; none: nothing did.
            known: Score only ids below this, which costs less than to score all V; none: all.

        Returns:
            Logits of the character after each, [B, T, V or known], and the memory after the last, [L, S, B, H], still
            part of the graph: `detach()` it where gradients must not go back further.
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
        """Logits [..., V] of outputs [..., H]; [..., known] if only ids below `known` are asked for."""
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
        """Writes on from a prompt, each character drawn from softmax(logits / temperature) and read in its turn.

        Args:
            prompt: Ids, int64 [B, P] with P >= 1.
            length: How many characters to draw.
            temperature: Above 0; low: the likely only, 1: as learnt, high: anything.
            generator: Of the CPU, where characters are drawn so that every device draws the same.
            known: Draw only ids below this; none: any.

        Returns:
            Ids of what was drawn, int64 [B, length].
        """
        check_positive("temperature", temperature)
        drawn: list[Tensor] = []
        state: Tensor | None = None
        read = prompt
        for _ in range(length):
            logits, state = self(read, state, known)
            probabilities = (logits[:, -1].double() / temperature).softmax(1)
            read = torch.multinomial(probabilities.cpu(), 1, generator=generator).to(prompt.device)  # [B, 1]
            drawn.append(read)
        return torch.cat(drawn, 1) if drawn else prompt[:, :0]
