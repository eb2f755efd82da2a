"""`CharRNN` with torch's cells instead of ours, to train both with everything else equal.

Run from the root of the repository:

    python cli.py fit --config configs/char_rnn.yaml --model.architecture benchmarks.torch_cells.TorchCharRNN
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from architectures.char_rnn import Cell, CharRNN


class TorchCharRNN(CharRNN):
    """`torch.nn.RNN`, `GRU` or `LSTM` with the interface of `CharRNN` and torch's initialisation.

    Args:
        vocab_size: Number of characters, V.
        cell: Which of the three cells.
        hidden_size: Number of hidden units, H.
        num_layers: Number of layers, L.
        dropout: Dropout rate between layers and, as in `CharRNN`, after the last layer.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: Cell = "lstm",
        hidden_size: int = 384,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(vocab_size, cell, hidden_size, num_layers, dropout)
        module = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        del self.layers
        # torch applies dropout between layers only, and warns if there is just one.
        self.cells = module(vocab_size, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0)

    def initial_state(self, streams: int) -> Tensor:
        """Return the initial state of `streams` streams: zeros [L, S, B, H]."""
        return self.output.weight.new_zeros(self.cells.num_layers, self.memories, streams, self.hidden_size)

    def forward(
        self, characters: Tensor, state: Tensor | None = None, known: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits [B, T, V] after each of the characters [B, T], and the final state [L, S, B, H]."""
        if state is None:
            state = self.initial_state(len(characters))
        memory = tuple(part.contiguous() for part in state.unbind(1))  # h, or h and c: [L, B, H] each
        inputs = F.one_hot(characters.T, self.vocab_size).to(self.output.weight.dtype)  # [T, B, V]
        outputs, memory = self.cells(inputs, memory if self.memories > 1 else memory[0])  # [T, B, H]
        state = torch.stack(memory if self.memories > 1 else (memory,), 1)
        return self.score(self.dropout(outputs), known).transpose(0, 1), state
