"""Tests of the loss against PyTorch's cross-entropy, and of the number of logits in memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from architectures.t5.loss import token_loss


class LargestTensor(TorchDispatchMode):
    """Recorder of the size of the largest tensor that any operation returns, including in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))])
        return result


def example() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    labels_N = torch.randint(0, 50, (37,))
    hidden_NM, weight_VM = torch.randn(37, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    labels_N[10:20] = (hidden_NM @ weight_VM.T).argmax(-1)[10:20]  # some predictions are right
    labels_N[[0, 15, 36]] = -100
    return hidden_NM, weight_VM, labels_N


@pytest.mark.parametrize("logits_at_once", [10**6, 5 * 50, 1])
@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.0, 0.0), (0.1, 0.0), (0.2, 1e-2)])
def test_equals_cross_entropy(smoothing: float, z_loss: float, logits_at_once: int) -> None:
    hidden_NM, weight_VM, labels_N = example()
    logits_NV = hidden_NM @ weight_VM.T
    scored_N = labels_N != -100
    expected = F.cross_entropy(logits_NV, labels_N, reduction="sum", label_smoothing=smoothing)
    expected = expected + z_loss * torch.log(logits_NV.exp().sum(-1))[scored_N].square().sum()
    expected_gradients = torch.autograd.grad(expected, (hidden_NM, weight_VM))

    sums = token_loss(hidden_NM, weight_VM, labels_N, smoothing, z_loss, logits_at_once)
    assert sums.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert sums.nll.item() == pytest.approx(F.cross_entropy(logits_NV, labels_N, reduction="sum").item(), rel=1e-5)
    assert sums.correct == (logits_NV.argmax(-1) == labels_N).sum() and sums.correct >= 9
    assert sums.tokens == 34
    assert not sums.nll.requires_grad
    for ours, theirs in zip(torch.autograd.grad(sums.loss, (hidden_NM, weight_VM)), expected_gradients, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("gradients", [True, False])
def test_full_logits_are_never_in_memory(gradients: bool) -> None:
    hidden_NM, weight_VM, labels_N = example()
    saved = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor)
    with torch.set_grad_enabled(gradients), LargestTensor() as largest, hooks:
        loss = token_loss(hidden_NM, weight_VM, labels_N, 0.1, 1e-4, logits_at_once=10 * 50).loss
        if gradients:
            loss.backward()
    assert largest.numel == 10 * 50  # of 37 * 50
    assert not any(numel == 10 * 50 for numel in saved)  # and no chunk is kept until the backward pass


def test_no_scored_tokens_give_zero_loss_and_zero_gradients() -> None:
    hidden_NM, weight_VM, labels_N = example()
    sums = token_loss(hidden_NM, weight_VM, torch.full_like(labels_N, -100), 0.1, 1e-4)
    sums.loss.backward()
    assert sums.loss == 0 and sums.tokens == 0
    assert hidden_NM.grad is not None and (hidden_NM.grad == 0).all()
