"""Beam search (Wu et al. 2016, arXiv:1609.08144, section 7) with the plain length penalty `length**length_penalty`.

Legend: B sources, K hypotheses per source, C = 2 K candidates, R results per source, T = max_length, V = vocab_size.
"""

import torch
from torch import Tensor

from architectures.t5.incremental import IncrementalDecoder
from architectures.t5.next_tokens import best_tokens, mask_forbidden, start_hypotheses
from architectures.t5.search import Search

NO_HYPOTHESIS = -1e9
"""Score of an empty place among running hypotheses, far below any sum of log-probabilities."""


def beam_search(decoder: IncrementalDecoder, search: Search) -> tuple[Tensor, Tensor]:
    """Return the best R results per source, [B, R, T], and their scores [B, R], best first.

    If there are fewer results, the others are empty, and their scores are -inf.
    """
    eos_token_id, device = decoder.config.eos_token_id, decoder.device
    num_sources, num_beams, num_returned = decoder.num_sources, search.num_beams, search.num_return_sequences

    running_BKT = start_hypotheses(decoder.config, (num_sources, num_beams, search.max_length), device)
    running_score_BK = torch.full((num_sources, num_beams), NO_HYPOTHESIS, dtype=torch.float32, device=device)
    ended_score_BK = torch.full_like(running_score_BK, -torch.inf)
    running_score_BK[:, 0] = 0  # only one is running at first: equal hypotheses would find the same tokens
    ended_BKT = running_BKT.clone()
    done_B = torch.zeros(num_sources, dtype=torch.bool, device=device)

    results_BRT = running_BKT[:, :num_returned].clone()
    scores_BR = torch.empty(num_sources, num_returned, dtype=torch.float32, device=device)
    row_B = torch.arange(num_sources, device=device)  # row in the results of each remaining source

    for length in range(1, search.max_length):
        log_p_BKV = decoder.step(running_BKT[:, :, length - 1]).log_softmax(-1, dtype=torch.float32)
        log_p_BKV = mask_forbidden(log_p_BKV, running_BKT[:, :, :length], search, eos_token_id)
        # Each hypothesis has one end token, so at least K of the best 2 K candidates keep running.
        log_p_BKC, token_BKC = best_tokens(log_p_BKV, 2 * num_beams)
        # A choice is a place in the table of hypotheses and their candidate tokens, flattened
        score_BC, choice_BC = (running_score_BK[:, :, None] + log_p_BKC).flatten(1).topk(2 * num_beams)
        parent_BC, token_BC = choice_BC // token_BKC.shape[2], token_BKC.flatten(1).gather(1, choice_BC)
        ends_BC = (token_BC == eos_token_id) | (length + 1 == search.max_length)

        # Only the K best candidates may become results; at the maximum length all hypotheses end.
        may_end_BK = ends_BC[:, :num_beams] & ~done_B[:, None] & (score_BC[:, :num_beams] > NO_HYPOTHESIS / 2)
        final_BK = (score_BC[:, :num_beams] / length**search.length_penalty).where(may_end_BK, -torch.inf)
        final_BKT = _continue(running_BKT, parent_BC[:, :num_beams], token_BC[:, :num_beams], length)
        ended_score_BK, best_BK = torch.cat([ended_score_BK, final_BK], 1).topk(num_beams)
        ended_BKT = torch.cat([ended_BKT, final_BKT], 1).take_along_dim(best_BK[:, :, None], 1)

        running_score_BK, next_BK = score_BC.masked_fill(ends_BC, NO_HYPOTHESIS).topk(num_beams)
        parent_BK = parent_BC.gather(1, next_BK)
        running_BKT = _continue(running_BKT, parent_BK, token_BC.gather(1, next_BK), length)
        decoder.follow(parent_BK)

        worst_B = ended_score_BK[:, -1]
        hopeless_B = running_score_BK[:, 0] / length**search.length_penalty <= worst_B
        done_B |= worst_B.isfinite() & (hopeless_B | search.early_stopping)
        if (order := decoder.drop(done_B)) is not None:
            results_BRT[row_B], scores_BR[row_B] = ended_BKT[:, :num_returned], ended_score_BK[:, :num_returned]
            row_B, done_B = row_B[order], done_B[order]
            running_BKT, running_score_BK = running_BKT[order], running_score_BK[order]
            ended_BKT, ended_score_BK = ended_BKT[order], ended_score_BK[order]
            if not len(order):
                break
    results_BRT[row_B], scores_BR[row_B] = ended_BKT[:, :num_returned], ended_score_BK[:, :num_returned]
    # A vocabulary may have fewer results of one token than were asked for
    results_BRT[:, :, 1:].masked_fill_(scores_BR.isneginf()[:, :, None], decoder.config.pad_token_id)
    return results_BRT, scores_BR


def _continue(hypotheses_BKT: Tensor, parent_BC: Tensor, token_BC: Tensor, length: int) -> Tensor:
    """Return the hypotheses at the given indices, each with a token after its first `length` ones, [B, C, T]."""
    continued_BCT = hypotheses_BKT.take_along_dim(parent_BC[:, :, None], dim=1)
    continued_BCT[:, :, length] = token_BC
    return continued_BCT
