"""Cross-entropy of next tokens, computed from hidden states so that the full logits are never in memory at once.

Legend: N tokens (of all sequences), M = d_model, V = vocab_size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from architectures.t5.norm import compute_dtype
from utils.batches import IGNORED

LOGITS_AT_ONCE = 2**26
"""Maximum number of logits computed at once (256 MiB in float32); more tokens are processed in chunks."""


class TokenSums(NamedTuple):
    """Sums over scored tokens: add up those of all batches and ranks, then divide by `tokens`.

    Attributes:
        loss: Training loss, including label smoothing and z-loss; the only one with a gradient.
        nll: Negative log-likelihood in nats; `exp(nll / tokens)` is the perplexity.
        correct: Number of tokens whose label had the largest logit, which another token may share.
        tokens: Number of scored tokens.
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
    """Return the loss of the labels under `softmax(hidden @ weight.T)`, computed in float32.

    Tokens are processed in chunks of `logits_at_once` logits. Each chunk's logits are overwritten with their gradient,
    from which the gradients of `hidden` and `weight` are computed before the next chunk. The backward pass has nothing
    left to compute, and cannot be differentiated again. On a CPU this takes two thirds of the time of plain autograd,
    which moves more tensors of the logits' size through memory.

    Args:
        hidden_NM: Input of the output layer.
        weight_VM: Weight of the output layer.
        labels_N: Token ids from 0 to V - 1, or `IGNORED` for tokens that are not scored.
        label_smoothing: Share of the target distribution spread evenly over the vocabulary (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
        z_loss: Weight of the squared log of the softmax's denominator, which keeps logits from drifting (Chowdhery et
            al. 2022, arXiv:2204.02311, section 5: 1e-4).
        logits_at_once: Maximum number of logits in memory.
    """
    chunk = max(1, logits_at_once // weight_VM.shape[0])
    sums = _TokenLoss.apply(hidden_NM, weight_VM, labels_N, label_smoothing, z_loss, chunk, torch.is_grad_enabled())
    return TokenSums(*sums)


class _TokenLoss(torch.autograd.Function):
    """Autograd function from hidden states and weight to `TokenSums`, differentiable in the loss only."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NM: Tensor,
        weight_VM: Tensor,
        labels_N: Tensor,
        label_smoothing: float,
        z_loss: float,
        chunk: int,
        with_gradients: bool,
    ) -> TokenSums:
        dtype = compute_dtype(hidden_NM)
        hidden, weight = hidden_NM.to(dtype), weight_VM.to(dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight_VM, dtype=torch.float32)
        chunk_sums = []
        with torch.autocast(hidden.device.type, enabled=False):  # the dtypes are set explicitly here
            for start in range(0, max(1, len(labels_N)), chunk):  # an empty batch has sums, too
                rows = slice(start, start + chunk)
                logits_NV = (hidden[rows] @ weight.T).float()
                chunk_sums.append(_score_in_place(logits_NV, labels_N[rows], label_smoothing, z_loss, with_gradients))
                if with_gradients:
                    gradient_NV = logits_NV.to(dtype)  # overwritten with their gradient by `_score_in_place`
                    torch.mm(gradient_NV, weight, out=hidden_gradient[rows])
                    _add_product(weight_gradient, gradient_NV.T, hidden[rows])
        sums = TokenSums(*(torch.stack(each).sum(0) for each in zip(*chunk_sums, strict=True)))
        if with_gradients:
            ctx.save_for_backward(hidden_gradient.to(hidden_NM.dtype), weight_gradient.to(weight_VM.dtype))
        ctx.mark_non_differentiable(*sums[1:])
        return sums

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return loss_gradient * hidden_gradient, loss_gradient * weight_gradient, *[None] * 5


def _score_in_place(
    logits_NV: Tensor, labels_N: Tensor, label_smoothing: float, z_loss: float, with_gradients: bool
) -> TokenSums:
    """Return the sums for the labels, overwriting `logits_NV`: with the loss's gradient if `with_gradients`."""
    scored_N1 = (labels_N != IGNORED)[:, None]
    label_N1 = labels_N.clamp(min=0)[:, None]
    largest_N1 = logits_NV.amax(dim=-1, keepdim=True)
    logit_N1 = logits_NV.gather(-1, label_N1)
    mean_N1 = logits_NV.mean(dim=-1, keepdim=True) if label_smoothing > 0 else 0.0
    # One fused pass, in place: from here on, the memory of logits_NV holds the softmax. Its denominator is not
    # returned, but the largest probability is exp(0) divided by it.
    softmax_NV = torch.softmax(logits_NV, dim=-1, out=logits_NV)
    log_z_N1 = largest_N1 - softmax_NV.amax(dim=-1, keepdim=True).log()
    nll_N1 = log_z_N1 - logit_N1
    loss_N1 = (1 - label_smoothing) * nll_N1 + label_smoothing * (log_z_N1 - mean_N1) + z_loss * log_z_N1.square()
    if with_gradients:
        # dloss/dlogits = (1 + 2 z_loss log_z) softmax - label_smoothing / V - (1 - label_smoothing) one_hot
        softmax_NV.mul_((1 + 2 * z_loss * log_z_N1) * scored_N1)
        if label_smoothing > 0:
            softmax_NV.sub_(label_smoothing / softmax_NV.shape[1] * scored_N1)
        softmax_NV.scatter_add_(-1, label_N1, (label_smoothing - 1.0) * scored_N1)
    return TokenSums(
        loss=(loss_N1 * scored_N1).sum(),
        nll=(nll_N1 * scored_N1).sum(),
        correct=((logit_N1 == largest_N1) & scored_N1).sum(),
        tokens=scored_N1.sum(),
    )


def _add_product(sum_VM: Tensor, left_VN: Tensor, right_NM: Tensor) -> None:
    """Add `left_VN @ right_NM`, which may be in bfloat16, to `sum_VM` in float32."""
    if left_VN.dtype == sum_VM.dtype:
        sum_VM.addmm_(left_VN, right_NM)
    else:
        sum_VM += left_VN @ right_NM
