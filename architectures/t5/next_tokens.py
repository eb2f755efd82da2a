"""Choice of next tokens in decoding: masking of forbidden tokens, and a fast top-k.

Legend: B sources, K hypotheses per source, T tokens per hypothesis, V = vocab_size.
"""

import torch
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.search import Search

CHUNK = 64
"""Number of neighbouring tokens of which `best_tokens` takes the maximum first."""


def start_hypotheses(config: T5Config, shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Return hypotheses of the given shape [B, K, T] that hold only the start token, padded."""
    hypotheses_BKT = torch.full(shape, config.pad_token_id, device=device)
    hypotheses_BKT[:, :, 0] = config.decoder_start_token_id
    return hypotheses_BKT


def mask_forbidden(log_p_BKV: Tensor, prefix_BKT: Tensor, search: Search, eos_token_id: int) -> Tensor:
    """Return the log-probabilities with -inf at tokens that may not follow the prefix."""
    length, size = prefix_BKT.shape[2], search.no_repeat_ngram_size
    if length >= search.min_length and not 0 < size <= length:
        return log_p_BKV
    forbidden_BKV = torch.zeros_like(log_p_BKV, dtype=torch.bool)
    if length < search.min_length:
        forbidden_BKV[:, :, eos_token_id] = True
    if 0 < size <= length:
        # An n-gram whose first n - 1 tokens equal the last n - 1 of the prefix forbids its last token.
        ngrams_BKWN = prefix_BKT.unfold(-1, size, 1)
        last_BKN = prefix_BKT[:, :, length - size + 1 :]
        matches_BKW = (ngrams_BKWN[..., :-1] == last_BKN[:, :, None]).all(-1).to(log_p_BKV.dtype)
        count_BKV = torch.zeros_like(log_p_BKV).scatter_add_(-1, ngrams_BKWN[..., -1], matches_BKW)
        forbidden_BKV |= count_BKV > 0
    forbidden_BKV[:, :, eos_token_id] &= ~forbidden_BKV.all(-1)  # if no token is allowed, the hypothesis must end
    return log_p_BKV.masked_fill(forbidden_BKV, -torch.inf)


def best_tokens(score_BKV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` highest scores of each hypothesis, best first, and their tokens: [B, K, count] each.

    On a CPU, `topk` over a vocabulary takes three times as long as finding the chunks with the highest maxima, which
    vectorises, and searching only those.
    """
    chunks, rest = divmod(score_BKV.shape[-1], CHUNK)
    if score_BKV.device.type != "cpu" or rest or chunks <= count:
        return score_BKV.topk(min(count, score_BKV.shape[-1]))
    chunk_BKCX = score_BKV.unflatten(-1, (chunks, CHUNK))
    best_chunk_BKC = chunk_BKCX.amax(-1).topk(count).indices
    score_BKC, place_BKC = chunk_BKCX.take_along_dim(best_chunk_BKC[..., None], 2).flatten(2).topk(count)
    return score_BKC, best_chunk_BKC.gather(-1, place_BKC // CHUNK) * CHUNK + place_BKC % CHUNK
