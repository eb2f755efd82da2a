"""Sampling, and greedy search, which takes the most probable token instead.

Top-k: Fan et al. 2018, arXiv:1805.04833, section 5. Top-p: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.

Legend: B sources, K hypotheses per source, T = max_length, V = vocab_size.
"""

import torch
from torch import Tensor

from architectures.t5.incremental import IncrementalDecoder
from architectures.t5.next_tokens import best_tokens, mask_forbidden, start_hypotheses
from architectures.t5.search import Search
from utils.devices import widened


def sample(decoder: IncrementalDecoder, search: Search, uniform_BKT: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return K results per source, [B, K, T], and their scores [B, K].

    Args:
        decoder: Decoder of the sources.
        search: Options.
        uniform_BKT: Uniform random numbers in [0, 1), by which tokens are sampled; if None, the search is greedy.
    """
    config, device = decoder.config, decoder.device
    shape = (decoder.num_sources, search.num_hypotheses)
    written_BKT = start_hypotheses(config, (*shape, search.max_length), device)
    token_BK, running_BK = written_BKT[:, :, 0], torch.ones(shape, dtype=torch.bool, device=device)
    log_p_sum_BK = torch.zeros(shape, dtype=torch.float32, device=device)
    length_BK = torch.zeros_like(log_p_sum_BK)

    results_BKT, scores_BK = written_BKT.clone(), log_p_sum_BK.clone()
    row_B = torch.arange(len(results_BKT), device=device)  # row in the results of each remaining source

    for length in range(1, search.max_length):
        log_p_BKV = decoder.step(token_BK).log_softmax(-1, dtype=torch.float32)
        allowed_BKV = mask_forbidden(log_p_BKV, written_BKT[:, :, :length], search, config.eos_token_id)
        if uniform_BKT is None:
            token_BK = best_tokens(allowed_BKV, 1)[1][:, :, 0]
        else:
            token_BK = _sample_tokens(_temper_and_filter(allowed_BKV, search), uniform_BKT[row_B, :, length])
        log_p_BK = log_p_BKV.gather(-1, token_BK[:, :, None])[:, :, 0]
        written_BKT[:, :, length] = token_BK.where(running_BK, config.pad_token_id)
        log_p_sum_BK += log_p_BK.where(running_BK, 0)
        length_BK += running_BK
        running_BK = running_BK & (token_BK != config.eos_token_id)

        if (order := decoder.drop(~running_BK.any(1))) is not None:
            results_BKT[row_B], scores_BK[row_B] = written_BKT, log_p_sum_BK / length_BK**search.length_penalty
            row_B, token_BK, running_BK = row_B[order], token_BK[order], running_BK[order]
            written_BKT, log_p_sum_BK, length_BK = written_BKT[order], log_p_sum_BK[order], length_BK[order]
            if not len(order):
                break
    results_BKT[row_B], scores_BK[row_B] = written_BKT, log_p_sum_BK / length_BK**search.length_penalty
    return results_BKT, scores_BK


def _temper_and_filter(log_p_BKV: Tensor, search: Search) -> Tensor:
    """Return log-probabilities (up to a constant) divided by the temperature, -inf outside top-k and top-p."""
    log_p_BKV = log_p_BKV / search.temperature
    if 0 < search.top_k < log_p_BKV.shape[-1]:
        threshold_BK1 = log_p_BKV.topk(search.top_k).values[:, :, -1:]
        log_p_BKV = log_p_BKV.masked_fill(log_p_BKV < threshold_BK1, -torch.inf)
    if search.top_p < 1:
        sorted_BKV, token_BKV = log_p_BKV.sort(dim=-1, descending=True)
        p_BKV = sorted_BKV.softmax(-1)
        excluded_BKV = p_BKV.cumsum(-1) - p_BKV >= search.top_p  # the more probable tokens already reach top_p
        excluded_BKV[:, :, 0] = False
        log_p_BKV = log_p_BKV.masked_fill(excluded_BKV.scatter(-1, token_BKV, excluded_BKV), -torch.inf)
    return log_p_BKV


def _sample_tokens(log_p_BKV: Tensor, uniform_BK: Tensor) -> Tensor:
    """Return the tokens at which the cumulative probabilities reach 1 - uniform, for uniform numbers in [0, 1).

    Computed in float64 where the device has it: a sum of many float32 numbers may miss 1, which could select a token of
    probability 0.
    """
    cumulative_BKV = widened(log_p_BKV).softmax(-1).cumsum(-1)
    target_BK = (1 - widened(uniform_BK)) * cumulative_BKV[:, :, -1]  # above 0, so no token of probability 0 is chosen
    return torch.searchsorted(cumulative_BKV, target_BK[:, :, None])[:, :, 0]
