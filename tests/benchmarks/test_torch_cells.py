"""`TorchCharRNN` is the same network as `CharRNN`, apart from who wrote the cells."""

import pytest
import torch

from architectures.char_rnn import CharRNN
from benchmarks.torch_cells import TorchCharRNN
from tests.close import assert_close


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])  # GRU's second bias is not the same as ours
def test_torchs_cells_under_our_interface(cell, num_layers):
    torch.manual_seed(0)
    ours = CharRNN(9, cell, 5, num_layers)
    theirs = TorchCharRNN(9, cell, 5, num_layers)
    state = {"output.weight": ours.output.weight, "output.bias": ours.output.bias}
    for number, layer in enumerate(ours.layers):
        state |= {f"cells.{name}_l{number}": getattr(layer, name) for name in ("weight_ih", "weight_hh")}
        state |= {f"cells.bias_ih_l{number}": layer.bias, f"cells.bias_hh_l{number}": torch.zeros_like(layer.bias)}
    theirs.load_state_dict(state)
    ids = torch.randint(9, (3, 7))
    memory = torch.randn(num_layers, ours.memories, 3, 5)
    for given in (None, memory):
        for mine, yours in zip(ours(ids, given), theirs(ids, given), strict=True):
            assert_close(mine, yours)
