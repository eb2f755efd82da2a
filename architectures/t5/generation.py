"""Decoding by greedy search, beam search or sampling, with the results of transformers' `generate`.

Beam search: Wu et al. 2016, arXiv:1609.08144, section 7, with the plain length penalty `length**length_penalty`.
Top-k: Fan et al. 2018, arXiv:1805.04833, section 5. Top-p: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.

Legend: B sources, K hypotheses per source, C = 2 K candidates, R results per source, T = max_length, V = vocab_size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.t5.incremental import IncrementalDecoder, source_lengths
from architectures.t5.model import T5
from utils.checks import check_choice, check_int, check_positive, check_positive_int

TOKENS_AT_ONCE = 2**15
"""Maximum number of tokens decoded at once, of sources or of hypotheses (0.8 GB of cache for t5-small in float32)."""

NO_HYPOTHESIS = -1e9
"""Score of an empty place among hypotheses."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Decoding options of `generate`, with their defaults and checks.

    Args:
        max_length: Maximum length of a result in tokens, including the start token; at least 2.
        num_beams: Number of hypotheses that beam search keeps per source; 1 is greedy search.
        length_penalty: Power of the length by which a sum of log-probabilities is divided: 0 favours short results, 1
            compares means, larger values favour long results.
        early_stopping: Whether to stop a source once it has `num_beams` complete results. Otherwise it stops once its
            best running hypothesis, if it ended now, would not displace one of them.
        num_return_sequences: Number of results per source: the best ones of a beam search (at most `num_beams`), or
            independent samples.
        min_length: Minimum length of a result in tokens, including the start token; at most `max_length`.
        no_repeat_ngram_size: Size of n-grams that may occur only once in a result; 0 allows all repetitions.
        do_sample: Whether to sample each token from the model's distribution instead of searching.
        top_k: Number of most probable tokens to sample from; 0 for all.
        top_p: Total probability, in (0, 1]: sample from the smallest set of most probable tokens that reaches it.
        temperature: Divisor of the log-probabilities before top_k and top_p, above 0: below 1, probable tokens become
            more probable.

    Raises:
        ValueError: An option is invalid; the message names it and says what is allowed.
    """

    max_length: int
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    num_return_sequences: int = 1
    min_length: int = 0
    no_repeat_ngram_size: int = 0
    do_sample: bool = False
    top_k: int = 0
    top_p: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_int("max_length", self.max_length, at_least=2)
        for name in ("num_beams", "num_return_sequences"):
            check_positive_int(name, getattr(self, name))
        for name in ("min_length", "no_repeat_ngram_size", "top_k"):
            check_int(name, getattr(self, name))
        for name in ("early_stopping", "do_sample"):
            check_choice(name, getattr(self, name), (True, False))
        penalty = self.length_penalty
        if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not math.isfinite(penalty):
            raise ValueError(f"length_penalty must be a finite number, got {penalty!r}")
        check_positive("temperature", self.temperature)
        if check_positive("top_p", self.top_p) > 1:
            raise ValueError(f"top_p must be a number above 0 and at most 1, got {self.top_p!r}")
        if self.min_length > self.max_length:
            raise ValueError(f"min_length must be at most max_length, {self.max_length}, got {self.min_length}")
        if self.do_sample and self.num_beams > 1:
            raise ValueError(f"num_beams must be 1 if do_sample is true, got {self.num_beams}")
        if not self.do_sample:
            if self.num_return_sequences > self.num_beams:
                raise ValueError(
                    f"num_return_sequences must be at most num_beams, {self.num_beams}, if do_sample is false, "
                    f"got {self.num_return_sequences}"
                )
            if (self.top_k, self.top_p, self.temperature) != (0, 1, 1):
                raise ValueError(
                    f"top_k, top_p and temperature must be 0, 1 and 1 if do_sample is false, "
                    f"got {self.top_k}, {self.top_p} and {self.temperature}"
                )

    @property
    def num_hypotheses(self) -> int:
        """Number of beams or samples per source, K."""
        return self.num_return_sequences if self.do_sample else self.num_beams


@torch.no_grad()
def generate(  # noqa: D417
    model: T5,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    max_length: int,
    num_beams: int = Search.num_beams,
    length_penalty: float = Search.length_penalty,
    early_stopping: bool = Search.early_stopping,
    num_return_sequences: int = Search.num_return_sequences,
    min_length: int = Search.min_length,
    no_repeat_ngram_size: int = Search.no_repeat_ngram_size,
    do_sample: bool = Search.do_sample,
    top_k: int = Search.top_k,
    top_p: float = Search.top_p,
    temperature: float = Search.temperature,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Generate targets for the given sources.

    Any number of sources is accepted: they are decoded in order of length, as many at once as fit in the cache. The
    result for a source does not depend on the others. Dropout is off, and the model's mode is restored at the end.

    Args:
        model: The model; it runs under autocast if that is on.
        input_ids: Sources, integers [B, S].
        attention_mask: Mask of the sources' real tokens, [B, S].
        max_length, num_beams, ..., temperature: Decoding options, described in `Search`.
        seed: Seed of sampling, whose results are then the same on every device; if None, the global generator is used.

    Returns:
        Sequences, integers [B R, T'], with the R results of a source in adjacent rows, best first in a search. A row
        holds the start token, the result, the end token (unless truncated at `max_length`) and padding; T' is the
        length of the longest. And scores [B R] in float32: the sum of the model's log-probabilities (in sampling those
        before temperature, top_k and top_p) divided by length**`length_penalty`, where the length includes the end
        token but not the start token.

    Raises:
        ValueError: An option is invalid; the message names it and says what is allowed.
    """
    search = Search(
        max_length=max_length,
        num_beams=num_beams,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        num_return_sequences=num_return_sequences,
        min_length=min_length,
        no_repeat_ngram_size=no_repeat_ngram_size,
        do_sample=do_sample,
        top_k=top_k,
        top_p=top_p,
        temperature=temperature,
    )
    device, shape = input_ids.device, (len(input_ids), num_return_sequences, max_length)
    sequences_BRT = torch.empty(shape, dtype=torch.long, device=device)
    scores_BR = torch.empty(shape[:2], device=device)
    # One number per token, for all sources at once and on the CPU: then a sample depends neither on how sources are
    # grouped nor on the device.
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    uniform_BKT = torch.rand(shape, generator=generator).to(device) if do_sample else None

    tokens_per_source = max(max_length * search.num_hypotheses, attention_mask.shape[1])
    training = model.training
    model.eval()
    try:
        for rows, width in _length_groups(attention_mask, TOKENS_AT_ONCE // tokens_per_source):
            mask_BS = attention_mask[rows, :width]
            memory_BSM = model.encode(input_ids[rows, :width], mask_BS)
            decoder = IncrementalDecoder(model, memory_BSM, mask_BS, search.num_hypotheses, max_length)
            if uniform_BKT is None:
                sequences_BRT[rows], scores_BR[rows] = _beam_search(decoder, search)
            else:
                sequences_BRT[rows], scores_BR[rows] = _sample(decoder, search, uniform_BKT[rows])
    finally:
        model.train(training)

    sequences = sequences_BRT.flatten(0, 1)
    return sequences[:, : _longest_length(sequences, model.config.eos_token_id)], scores_BR.flatten()


def _length_groups(mask_BS: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield groups of at most `size` rows of similar length, each with the length of its longest row."""
    length_B, row_B = source_lengths(mask_BS).sort(stable=True)
    size = max(1, size)
    for length, row in zip(length_B.split(size), row_B.split(size), strict=True):
        if len(row):
            yield row, int(length[-1])


def _longest_length(sequences_NT: Tensor, eos_token_id: int) -> int:
    """Return the length of the longest sequence, including its end token."""
    is_end_NT = sequences_NT[:, 1:] == eos_token_id
    length_N = torch.where(is_end_NT.any(1), is_end_NT.int().argmax(1) + 2, sequences_NT.shape[1])
    return max([1, *length_N.tolist()])


def _beam_search(decoder: IncrementalDecoder, search: Search) -> tuple[Tensor, Tensor]:
    """Return the best R results per source, [B, R, T], and their scores [B, R], best first."""
    config, device = decoder.model.config, decoder.keys.device
    num_sources, num_beams, max_length = len(decoder.source_length_B), search.num_beams, search.max_length
    num_returned = search.num_return_sequences

    running_BKT = _start_hypotheses(decoder, max_length)
    running_score_BK = torch.full((num_sources, num_beams), NO_HYPOTHESIS, device=device)
    running_score_BK[:, 0] = 0  # only one is running at first: equal hypotheses would find the same tokens
    ended_BKT = running_BKT.clone()
    ended_score_BK = torch.full((num_sources, num_beams), NO_HYPOTHESIS, device=device)

    results_BRT = running_BKT[:, :num_returned].clone()
    scores_BR = torch.empty(num_sources, num_returned, device=device)
    row_B = torch.arange(num_sources, device=device)  # row in the results of each source that is still running

    for length in range(1, max_length):
        logits_BKV = decoder.step(running_BKT[:, :, length - 1])
        log_p_BKV = logits_BKV.float().log_softmax(-1)
        log_p_BKV = _mask_forbidden(log_p_BKV, running_BKT[:, :, :length], search, config.eos_token_id)
        total_BKV = running_score_BK[:, :, None] + log_p_BKV
        # Each hypothesis has one end token, so at least K of the best 2 K candidates keep running.
        score_BC, choice_BC = total_BKV.flatten(1).topk(2 * num_beams)
        parent_BC, token_BC = choice_BC // config.vocab_size, choice_BC % config.vocab_size
        candidate_BCT = _select_hypotheses(running_BKT, parent_BC)
        candidate_BCT[:, :, length] = token_BC
        ends_BC = (token_BC == config.eos_token_id) | (length + 1 == max_length)

        # Only the K best candidates may become results; at the maximum length all end.
        final_BK = (score_BC / length**search.length_penalty).masked_fill(~ends_BC, NO_HYPOTHESIS)[:, :num_beams]
        ended_score_BK, best_BK = torch.cat([ended_score_BK, final_BK], 1).topk(num_beams)
        ended_BKT = _select_hypotheses(torch.cat([ended_BKT, candidate_BCT[:, :num_beams]], 1), best_BK)
        running_score_BK, next_BK = score_BC.masked_fill(ends_BC, NO_HYPOTHESIS).topk(num_beams)
        running_BKT = _select_hypotheses(candidate_BCT, next_BK)

        worst_B = ended_score_BK[:, -1]
        hopeless_B = running_score_BK[:, 0] / length**search.length_penalty <= worst_B
        done_B = (worst_B > NO_HYPOTHESIS) & (hopeless_B | search.early_stopping) | (length + 1 == max_length)
        results_BRT[row_B[done_B]] = ended_BKT[done_B, :num_returned]
        scores_BR[row_B[done_B]] = ended_score_BK[done_B, :num_returned]

        remaining = (~done_B).nonzero()[:, 0]
        if not len(remaining):
            break
        decoder.select(remaining, parent_BC.gather(1, next_BK)[remaining])
        row_B, running_BKT, running_score_BK = row_B[remaining], running_BKT[remaining], running_score_BK[remaining]
        ended_BKT, ended_score_BK = ended_BKT[remaining], ended_score_BK[remaining]
    return results_BRT, scores_BR


def _sample(decoder: IncrementalDecoder, search: Search, uniform_BKT: Tensor) -> tuple[Tensor, Tensor]:
    """Return K samples per source, [B, K, T], and their scores [B, K], from uniform random numbers in [0, 1)."""
    config = decoder.model.config
    results_BKT = _start_hypotheses(decoder, search.max_length)
    log_p_sum_BK = torch.zeros(results_BKT.shape[:2], device=results_BKT.device)
    length_BK = torch.zeros_like(log_p_sum_BK)
    row_B = torch.arange(len(results_BKT), device=results_BKT.device)

    for length in range(1, search.max_length):
        prefix_BKT = results_BKT[row_B, :, :length]
        running_BK = ~(prefix_BKT[:, :, 1:] == config.eos_token_id).any(-1)
        remaining = running_BK.any(1).nonzero()[:, 0]
        if not len(remaining):
            break
        if len(remaining) < len(row_B):
            decoder.select(remaining)
            row_B, prefix_BKT, running_BK = row_B[remaining], prefix_BKT[remaining], running_BK[remaining]

        log_p_BKV = decoder.step(prefix_BKT[:, :, -1]).float().log_softmax(-1)
        allowed_BKV = _mask_forbidden(log_p_BKV, prefix_BKT, search, config.eos_token_id)
        token_BK = _sample_tokens(_temper_and_filter(allowed_BKV, search), uniform_BKT[row_B, :, length])
        log_p_BK = log_p_BKV.gather(-1, token_BK[:, :, None])[:, :, 0]
        results_BKT[row_B, :, length] = token_BK.where(running_BK, config.pad_token_id)
        log_p_sum_BK[row_B] += log_p_BK * running_BK
        length_BK[row_B] += running_BK
    return results_BKT, log_p_sum_BK / length_BK**search.length_penalty


def _start_hypotheses(decoder: IncrementalDecoder, max_length: int) -> Tensor:
    """Return hypotheses that hold the start token alone, padded to [B, K, T]."""
    config = decoder.model.config
    shape = (len(decoder.source_length_B), decoder.num_hypotheses, max_length)
    hypotheses_BKT = torch.full(shape, config.pad_token_id, device=decoder.keys.device)
    hypotheses_BKT[:, :, 0] = config.decoder_start_token_id
    return hypotheses_BKT


def _select_hypotheses(hypotheses_BKT: Tensor, index_BC: Tensor) -> Tensor:
    """Return the hypotheses of each source at the given indices, [B, C, T]."""
    return hypotheses_BKT.take_along_dim(index_BC[:, :, None], dim=1)


def _mask_forbidden(log_p_BKV: Tensor, prefix_BKT: Tensor, search: Search, eos_token_id: int) -> Tensor:
    """Return the log-probabilities with -inf at tokens that may not follow the prefix."""
    length, size = prefix_BKT.shape[2], search.no_repeat_ngram_size
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

    Computed in float64: a sum of many float32 numbers may miss 1, which could select a token of probability 0.
    """
    cumulative_BKV = log_p_BKV.double().softmax(-1).cumsum(-1)
    target_BK = (1 - uniform_BK.double()) * cumulative_BKV[:, :, -1]  # above 0, so no token of probability 0 is chosen
    return torch.searchsorted(cumulative_BKV, target_BK[:, :, None])[:, :, 0]
