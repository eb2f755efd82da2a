"""Cross-entropy of next tokens, from hidden states, so that large logits need never stand whole.

Legend: N tokens (of all sequences), M = d_model, V = vocab_size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

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

    Where N times V passes `logits_at_once`, the tokens are taken in parts whose logits are thrown away and computed
    again in the backward pass.

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
    score: Callable[..., TokenSums] = partial(_score, label_smoothing=label_smoothing, z_loss=z_loss)
    if len(labels_N) <= part:
        return score(hidden_NM, weight_VM, labels_N)
    if torch.is_grad_enabled():
        score = partial(_checkpoint, score)
    parts = [
        score(hidden, weight_VM, labels)
        for hidden, labels in zip(hidden_NM.split(part), labels_N.split(part), strict=True)
    ]
    return TokenSums(*(torch.stack(sums).sum(0) for sums in zip(*parts, strict=True)))


def _checkpoint(function: Callable[..., TokenSums], *args: Any) -> TokenSums:
    return checkpoint(function, *args, use_reentrant=False)


def _score(hidden_NM: Tensor, weight_VM: Tensor, labels_N: Tensor, label_smoothing: float, z_loss: float) -> TokenSums:
    logits_NV = F.linear(hidden_NM, weight_VM).float()
    scored_N = labels_N != IGNORED
    log_z_N = logits_NV.logsumexp(dim=-1)
    nll_N = log_z_N - logits_NV.gather(-1, labels_N.clamp(min=0)[:, None])[:, 0]
    loss_N = nll_N
    if label_smoothing > 0:
        loss_N = (1 - label_smoothing) * nll_N + label_smoothing * (log_z_N - logits_NV.mean(dim=-1))
    if z_loss > 0:
        loss_N = loss_N + z_loss * log_z_N.square()
    correct_N = (logits_NV.argmax(dim=-1) == labels_N) & scored_N
    return TokenSums(
        loss=(loss_N * scored_N).sum(),
        nll=(nll_N.detach() * scored_N).sum(),
        correct=correct_N.sum(),
        tokens=scored_N.sum(),
    )
