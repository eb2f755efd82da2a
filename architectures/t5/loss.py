"""Cross-entropy of next tokens, from hidden states, so that large logits need never stand whole.

Legend: N tokens (of all sequences), M = d_model, V = vocab_size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from architectures.t5.feed_forward import compute_dtype

IGNORED = -100
"""Label of a token that is not scored (PyTorch's own `ignore_index`)."""

LOGITS_AT_ONCE = 2**26
"""Logits computed at a time: 256 MiB in float32. Beyond it the tokens are taken in parts."""


class TokenSums(NamedTuple):
    """Sums over scored tokens, to be divided by `tokens` when those of all parts and ranks are added up.

    Attributes:
        loss: What to minimise, label smoothing and z-loss included; the only one with a gradient.
        nll: Negative log-likelihood in nats; `exp(nll / tokens)` is the perplexity.
        correct: How often the label had the largest logit.
        tokens: How many tokens were scored.
    """

    loss: Tensor
    nll: Tensor
    correct: Tensor
    tokens: Tensor


def token_loss(
    hidden_NM: Tensor,
    weight_VM: Tensor,
    labels_N: Tensor,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> TokenSums:
    """Score the labels under `softmax(hidden @ weight.T)`, in float32.

    The tokens are taken in parts of `logits_at_once` logits. Logits are turned in place into their gradient, and that
    into the gradients of `hidden` and `weight`, before the next part is begun: the backward pass has nothing left to
    compute (nor can it be differentiated again). On a CPU that takes two thirds of the time of autograd's own way, in
    which more tensors of the logits' size go through memory.

    Args:
        hidden_NM: What the output layer reads.
        weight_VM: Weight of the output layer.
        labels_N: Tokens from 0 to V - 1; `IGNORED` ones count for nothing.
        label_smoothing: Share of the target spread evenly over the vocabulary (Szegedy et al. 2016, arXiv:1512.00567,
            section 7).
        z_loss: Weight of the squared log of the softmax's denominator, which keeps logits from drifting (Chowdhery et
            al. 2022, arXiv:2204.02311, section 5: 1e-4).
        logits_at_once: Largest number of logits to hold.
    """
    part = max(1, logits_at_once // weight_VM.shape[0])
    sums = _TokenLoss.apply(hidden_NM, weight_VM, labels_N, label_smoothing, z_loss, part, torch.is_grad_enabled())
    return TokenSums(*sums)


class _TokenLoss(torch.autograd.Function):
    """The four sums of `TokenSums`, and the gradients of the first."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NM: Tensor,
        weight_VM: Tensor,
        labels_N: Tensor,
        label_smoothing: float,
        z_loss: float,
        part: int,
        with_gradients: bool,
    ) -> TokenSums:
        dtype = compute_dtype(hidden_NM)
        hidden, weight = hidden_NM.to(dtype), weight_VM.to(dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight_VM, dtype=torch.float32)
        parts = []
        with torch.autocast(hidden.device.type, enabled=False):  # dtypes are chosen here
            for first in range(0, max(1, len(labels_N)), part):
                rows = slice(first, first + part)
                logits_NV = (hidden[rows] @ weight.T).float()
                parts.append(_score(logits_NV, labels_N[rows], label_smoothing, z_loss, with_gradients))
                if with_gradients:
                    gradient_NV = logits_NV.to(dtype)  # what `_score` has made of them
                    torch.mm(gradient_NV, weight, out=hidden_gradient[rows])
                    _add_product(weight_gradient, gradient_NV.T, hidden[rows])
        sums = TokenSums(*(torch.stack(each).sum(0) for each in zip(*parts, strict=True)))
        if with_gradients:
            ctx.save_for_backward(hidden_gradient.to(hidden_NM.dtype), weight_gradient.to(weight_VM.dtype))
        ctx.mark_non_differentiable(*sums[1:])
        return sums

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return loss_gradient * hidden_gradient, loss_gradient * weight_gradient, *[None] * 5


def _score(logits_NV: Tensor, labels_N: Tensor, label_smoothing: float, z_loss: float, gradients: bool) -> TokenSums:
    """Score the labels; `logits_NV` is written over, with the gradient of the loss if `gradients`."""
    scored_N1 = (labels_N != IGNORED)[:, None]
    label_N1 = labels_N.clamp(min=0)[:, None]
    largest_N1, best_N1 = logits_NV.max(dim=-1, keepdim=True)
    nll_N1 = -logits_NV.gather(-1, label_N1)
    mean_N1 = logits_NV.mean(dim=-1, keepdim=True) if label_smoothing > 0 else 0.0
    exp_NV = logits_NV.sub_(largest_N1).exp_()
    sum_N1 = exp_NV.sum(dim=-1, keepdim=True)
    log_z_N1 = sum_N1.log() + largest_N1
    nll_N1 += log_z_N1
    loss_N1 = (1 - label_smoothing) * nll_N1 + label_smoothing * (log_z_N1 - mean_N1) + z_loss * log_z_N1.square()
    if gradients:
        # of the loss by the logits: (1 + 2 z_loss log_z) softmax - label_smoothing / V - (1 - label_smoothing) one_hot
        exp_NV.mul_((1 + 2 * z_loss * log_z_N1) / sum_N1 * scored_N1)
        if label_smoothing > 0:
            exp_NV.sub_(label_smoothing / exp_NV.shape[1] * scored_N1)
        exp_NV.scatter_add_(-1, label_N1, (label_smoothing - 1.0) * scored_N1)
    return TokenSums(
        loss=(loss_N1 * scored_N1).sum(),
        nll=(nll_N1 * scored_N1).sum(),
        correct=((best_N1 == label_N1) & scored_N1).sum(),
        tokens=scored_N1.sum(),
    )


def _add_product(sum_VM: Tensor, left_VN: Tensor, right_NM: Tensor) -> None:
    """Add a product, of bf16 as it may be, to a sum in float32."""
    if left_VN.dtype == sum_VM.dtype:
        sum_VM.addmm_(left_VN, right_NM)
    else:
        sum_VM += left_VN @ right_NM
