"""Decoding: greedy, beam search and sampling, with the results of transformers' `generate`.

Beam search: Wu et al. 2016, arXiv:1609.08144, section 7, with the plain length penalty `length**length_penalty`.
Top-k: Fan et al. 2018, arXiv:1805.04833, section 5. Top-p: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.

Legend: B sources, K hypotheses of each, C = 2 K candidates, R returned, T = max_length, V = vocab_size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from architectures.t5.incremental import IncrementalDecoder, source_lengths
from architectures.t5.model import T5
from utils.checks import check_choice, check_positive, check_positive_int

TOKENS_AT_ONCE = 2**15
"""Room for tokens at once, of sources, or of hypotheses in the cache (0.8 GB for t5-small in float32)."""

NEVER = -1e9
"""Score of a hypothesis that does not exist."""


@dataclass(frozen=True)
class Search:
    """How to search, as `generate` takes it; fields are checked when it is made."""

    max_length: int
    num_beams: int
    length_penalty: float
    early_stopping: bool
    num_return_sequences: int
    min_length: int
    no_repeat_ngram_size: int
    do_sample: bool
    top_k: int
    top_p: float
    temperature: float

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return_sequences"):
            check_positive_int(name, getattr(self, name))
        for name in ("max_length", "min_length", "no_repeat_ngram_size", "top_k"):
            value, least = getattr(self, name), 2 if name == "max_length" else 0
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for name in ("early_stopping", "do_sample"):
            check_choice(name, getattr(self, name), (True, False))
        check_positive("temperature", self.temperature)
        if check_positive("top_p", self.top_p) > 1:
            raise ValueError(f"top_p must be a number above 0 and at most 1, got {self.top_p!r}")
        if self.min_length > self.max_length:
            raise ValueError(f"min_length must be at most max_length, {self.max_length}, got {self.min_length}")
        if self.do_sample and self.num_beams > 1:
            raise ValueError(f"num_beams must be 1 where do_sample is true, got {self.num_beams}")
        if not self.do_sample:
            if self.num_return_sequences > self.num_beams:
                raise ValueError(
                    f"num_return_sequences must be at most num_beams, {self.num_beams}, where do_sample is false, "
                    f"got {self.num_return_sequences}"
                )
            if (self.top_k, self.top_p, self.temperature) != (0, 1, 1):
                raise ValueError(
                    f"top_k, top_p and temperature must be 0, 1 and 1 where do_sample is false, "
                    f"got {self.top_k}, {self.top_p} and {self.temperature}"
                )

    @property
    def num_hypotheses(self) -> int:
        """K: beams, or samples, of each source."""
        return self.num_return_sequences if self.do_sample else self.num_beams


@torch.no_grad()
def generate(
    model: T5,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    max_length: int,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
    num_return_sequences: int = 1,
    min_length: int = 0,
    no_repeat_ngram_size: int = 0,
    do_sample: bool = False,
    top_k: int = 0,
    top_p: float = 1.0,
    temperature: float = 1.0,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Write a target for each source.

    Any number of sources may be given: they are decoded in order of length, as many at once as the cache has room for.
    A result does not depend on the sources beside it. The model's mode is left as it was; dropout is off meanwhile.

    Args:
        model: The model; autocast, where it is on, is kept to.
        input_ids: Sources, integers [B, S].
        attention_mask: Their real tokens, [B, S].
        max_length: Most tokens of a result, the start token included; at least 2.
        num_beams: Hypotheses kept in beam search; 1 is greedy.
        length_penalty: Power of the length by which a sum of log-probabilities is divided; 0 prefers short results,
            1 compares means, more prefers long ones.
        early_stopping: Stop a source when it has `num_beams` complete results. Else it stops once the best hypothesis,
            if it ended now, would not displace one of them.
        num_return_sequences: Results of each source: best first of a beam search (at most `num_beams`), or independent
            samples.
        min_length: No result ends before it has this many tokens, the start token included.
        no_repeat_ngram_size: No run of this many tokens stands twice in a result; 0 for any.
        do_sample: Draw each token from the model's distribution instead of searching.
        top_k: Draw from the k most probable tokens; 0 for all.
        top_p: Draw from the fewest tokens whose probabilities add up to this.
        temperature: Divides log-probabilities ahead of top_k and top_p: below 1 the probable becomes more so.
        seed: Makes samples reproducible on any device; None draws from the global generator.

    Returns:
        Sequences, integers [B R, T'], R in a row for each source: the start token, the result, the end token (unless
        `max_length` cut it short), padding; T' is the length of the longest. And scores [B R] in float32: the sum of
        the model's log-probabilities (in sampling, before temperature, top_k and top_p) divided by
        length**`length_penalty`, where length counts the end token but not the start token.

    Raises:
        ValueError: An argument is impossible; the message names it and says what is allowed.
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
    # Drawn for all at once and on the CPU: neither the search of other rows nor the device changes a sample.
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    chance_BKT = torch.rand(shape, generator=generator).to(device) if do_sample else None

    widest = max(max_length * search.num_hypotheses, attention_mask.shape[1])
    training = model.training
    model.eval()
    try:
        for rows, width in _similar_lengths(attention_mask, TOKENS_AT_ONCE // widest):
            mask_BS = attention_mask[rows, :width]
            memory_BSM = model.encode(input_ids[rows, :width], mask_BS)
            decoder = IncrementalDecoder(model, memory_BSM, mask_BS, search.num_hypotheses, max_length)
            if chance_BKT is None:
                sequences_BRT[rows], scores_BR[rows] = _beam_search(decoder, search)
            else:
                sequences_BRT[rows], scores_BR[rows] = _sample(decoder, search, chance_BKT[rows])
    finally:
        model.train(training)

    sequences = sequences_BRT.flatten(0, 1)
    return sequences[:, : _longest(sequences, model.config.eos_token_id)], scores_BR.flatten()


def _similar_lengths(mask_BS: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield groups of at most `size` rows that are alike in length, each with the length of its longest."""
    length_B, row_B = source_lengths(mask_BS).sort(stable=True)
    size = max(1, size)
    for length, row in zip(length_B.split(size), row_B.split(size), strict=True):
        if len(row):
            yield row, int(length[-1])


def _longest(sequences_NT: Tensor, eos_token_id: int) -> int:
    """Return the length of the longest sequence, its end token included."""
    is_end_NT = sequences_NT[:, 1:] == eos_token_id
    length_N = torch.where(is_end_NT.any(1), is_end_NT.int().argmax(1) + 2, sequences_NT.shape[1])
    return max([1, *length_N.tolist()])


def _beam_search(decoder: IncrementalDecoder, search: Search) -> tuple[Tensor, Tensor]:
    """Return the best R results of each source, [B, R, T], and their scores [B, R], best first."""
    config, device = decoder.model.config, decoder.keys.device
    num_sources, num_beams, max_length = len(decoder.source_length_B), search.num_beams, search.max_length
    num_returned = search.num_return_sequences

    running_BKT = _blank(decoder, max_length)
    running_score_BK = torch.full((num_sources, num_beams), NEVER, device=device)
    running_score_BK[:, 0] = 0  # all begin alike: more than one would find the same tokens
    ended_BKT = running_BKT.clone()
    ended_score_BK = torch.full((num_sources, num_beams), NEVER, device=device)

    results_BRT = running_BKT[:, :num_returned].clone()
    scores_BR = torch.empty(num_sources, num_returned, device=device)
    place_B = torch.arange(num_sources, device=device)  # where a source still in search belongs among the results

    for length in range(1, max_length):
        logits_BKV = decoder.step(running_BKT[:, :, length - 1])
        log_p_BKV = _forbid(logits_BKV.float().log_softmax(-1), running_BKT[:, :, :length], search, config.eos_token_id)
        total_BKV = running_score_BK[:, :, None] + log_p_BKV
        # Each hypothesis has one way to end, so at least K of the best 2 K candidates go on.
        score_BC, choice_BC = total_BKV.flatten(1).topk(2 * num_beams)
        parent_BC, token_BC = choice_BC // config.vocab_size, choice_BC % config.vocab_size
        candidate_BCT = _take(running_BKT, parent_BC)
        candidate_BCT[:, :, length] = token_BC
        ends_BC = (token_BC == config.eos_token_id) | (length + 1 == max_length)

        # Only among the K best may one end; at the last token all do.
        final_BK = (score_BC / length**search.length_penalty).masked_fill(~ends_BC, NEVER)[:, :num_beams]
        ended_score_BK, best_BK = torch.cat([ended_score_BK, final_BK], 1).topk(num_beams)
        ended_BKT = _take(torch.cat([ended_BKT, candidate_BCT[:, :num_beams]], 1), best_BK)
        running_score_BK, next_BK = score_BC.masked_fill(ends_BC, NEVER).topk(num_beams)
        running_BKT = _take(candidate_BCT, next_BK)

        worst_B = ended_score_BK[:, -1]
        hopeless_B = running_score_BK[:, 0] / length**search.length_penalty <= worst_B
        done_B = (worst_B > NEVER) & (hopeless_B | search.early_stopping) | (length + 1 == max_length)
        results_BRT[place_B[done_B]] = ended_BKT[done_B, :num_returned]
        scores_BR[place_B[done_B]] = ended_score_BK[done_B, :num_returned]

        left = (~done_B).nonzero()[:, 0]
        if not len(left):
            break
        decoder.select(left, parent_BC.gather(1, next_BK)[left])
        place_B, running_BKT, running_score_BK = place_B[left], running_BKT[left], running_score_BK[left]
        ended_BKT, ended_score_BK = ended_BKT[left], ended_score_BK[left]
    return results_BRT, scores_BR


def _sample(decoder: IncrementalDecoder, search: Search, chance_BKT: Tensor) -> tuple[Tensor, Tensor]:
    """Return K samples of each source, [B, K, T], and their scores [B, K]."""
    config = decoder.model.config
    results_BKT = _blank(decoder, search.max_length)
    log_p_sum_BK = torch.zeros(results_BKT.shape[:2], device=results_BKT.device)
    length_BK = torch.zeros_like(log_p_sum_BK)
    place_B = torch.arange(len(results_BKT), device=results_BKT.device)

    for length in range(1, search.max_length):
        written_BKT = results_BKT[place_B, :, :length]
        running_BK = ~(written_BKT[:, :, 1:] == config.eos_token_id).any(-1)
        left = running_BK.any(1).nonzero()[:, 0]
        if not len(left):
            break
        if len(left) < len(place_B):
            decoder.select(left)
            place_B, written_BKT, running_BK = place_B[left], written_BKT[left], running_BK[left]

        log_p_BKV = decoder.step(written_BKT[:, :, -1]).float().log_softmax(-1)
        allowed_BKV = _forbid(log_p_BKV, written_BKT, search, config.eos_token_id)
        token_BK = _draw(_truncate(allowed_BKV, search), chance_BKT[place_B, :, length])
        log_p_BK = log_p_BKV.gather(-1, token_BK[:, :, None])[:, :, 0]
        results_BKT[place_B, :, length] = token_BK.where(running_BK, config.pad_token_id)
        log_p_sum_BK[place_B] += log_p_BK * running_BK
        length_BK[place_B] += running_BK
    return results_BKT, log_p_sum_BK / length_BK**search.length_penalty


def _blank(decoder: IncrementalDecoder, max_length: int) -> Tensor:
    """Return hypotheses of nothing but the start token, [B, K, T]."""
    config = decoder.model.config
    shape = (len(decoder.source_length_B), decoder.num_hypotheses, max_length)
    blank_BKT = torch.full(shape, config.pad_token_id, device=decoder.keys.device)
    blank_BKT[:, :, 0] = config.decoder_start_token_id
    return blank_BKT


def _take(hypotheses_BKT: Tensor, index_BC: Tensor) -> Tensor:
    """Return, of each source, the hypotheses named, [B, C, T]."""
    return hypotheses_BKT.take_along_dim(index_BC[:, :, None], dim=1)


def _forbid(log_p_BKV: Tensor, written_BKT: Tensor, search: Search, eos_token_id: int) -> Tensor:
    """Return the log-probabilities with -inf at tokens that may not follow what is written."""
    length, size = written_BKT.shape[2], search.no_repeat_ngram_size
    forbidden_BKV = torch.zeros_like(log_p_BKV, dtype=torch.bool)
    if length < search.min_length:
        forbidden_BKV[:, :, eos_token_id] = True
    if 0 < size <= length:
        # A run that begins with the last size - 1 tokens forbids its own last one.
        runs_BKWN = written_BKT.unfold(-1, size, 1)
        last_BKN = written_BKT[:, :, length - size + 1 :]
        again_BKW = (runs_BKWN[..., :-1] == last_BKN[:, :, None]).all(-1)
        times_BKV = torch.zeros_like(log_p_BKV).scatter_add_(-1, runs_BKWN[..., -1], again_BKW.to(log_p_BKV.dtype))
        forbidden_BKV |= times_BKV > 0
    forbidden_BKV[:, :, eos_token_id] &= ~forbidden_BKV.all(-1)  # where nothing may follow it must end
    return log_p_BKV.masked_fill(forbidden_BKV, -torch.inf)


def _truncate(log_p_BKV: Tensor, search: Search) -> Tensor:
    """Return log-probabilities (up to a constant) at the given temperature, -inf outside top-k and top-p."""
    log_p_BKV = log_p_BKV / search.temperature
    if 0 < search.top_k < log_p_BKV.shape[-1]:
        least_BK1 = log_p_BKV.topk(search.top_k).values[:, :, -1:]
        log_p_BKV = log_p_BKV.masked_fill(log_p_BKV < least_BK1, -torch.inf)
    if search.top_p < 1:
        ranked_BKV, token_BKV = log_p_BKV.sort(dim=-1, descending=True)
        p_BKV = ranked_BKV.softmax(-1)
        beyond_BKV = p_BKV.cumsum(-1) - p_BKV >= search.top_p  # those before it suffice
        beyond_BKV[:, :, 0] = False
        log_p_BKV = log_p_BKV.masked_fill(beyond_BKV.scatter(-1, token_BKV, beyond_BKV), -torch.inf)
    return log_p_BKV


def _draw(log_p_BKV: Tensor, chance_BK: Tensor) -> Tensor:
    """Return the token at which the summed probabilities reach 1 - chance, for chances in [0, 1).

    In float64: a sum of many float32 numbers may miss 1, and would then end on a token of probability 0.
    """
    reached_BKV = log_p_BKV.double().softmax(-1).cumsum(-1)
    target_BK = (1 - chance_BK.double()) * reached_BKV[:, :, -1]  # above 0, so never at a token of probability 0
    return torch.searchsorted(reached_BKV, target_BK[:, :, None])[:, :, 0]
