"""Decoding by greedy search, beam search or sampling, with the results of transformers' `generate`.

Legend: B sources, S tokens per source, K hypotheses per source, R results per source, T = max_length, M = d_model.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from architectures.t5.beam_search import beam_search
from architectures.t5.decoding_memory import require_memory
from architectures.t5.decoding_weights import DecodingWeights
from architectures.t5.fixed_step import FixedStepDecoder
from architectures.t5.incremental import IncrementalDecoder, rounded_up, source_lengths
from architectures.t5.model import T5
from architectures.t5.repeated_step import alone_on
from architectures.t5.sampling import sample
from architectures.t5.search import Search

TOKENS_AT_ONCE = 2**15
"""Maximum number of tokens decoded at once, of sources or of hypotheses (0.8 GB of cache for t5-small in float32)."""


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
    seed: int | Sequence[torch.Generator] | None = None,
) -> tuple[Tensor, Tensor]:
    """Generate targets for the given sources.

    Any number of sources is accepted: they are decoded in order of length, as many at once as fit in the cache. The
    result for a source does not depend on the others. Dropout is off, and the model's mode is restored at the end.

    Args:
        model: The model; it runs under autocast if that is on.
        input_ids: Sources, integers [B, S].
        attention_mask: Mask of the sources' real tokens, [B, S].
        max_length, num_beams, ..., temperature: Decoding options, described in `Search`.
        seed: Seed of sampling, whose results are then the same on every device; or a generator per source, on the CPU,
            so that its samples do not depend on the other sources; if None, the global generator is used.

    Returns:
        Sequences and scores. Sequences, integers [B R, T'], have the R results of a source in adjacent rows, best first
        in a search. A row holds the start token, the result, the end token (unless truncated at `max_length`) and
        padding; T' is the length of the longest. The scores, [B R] in float32, are the sum of the model's
        log-probabilities (in sampling, those before temperature, top_k and top_p) divided by length**`length_penalty`,
        where the length includes the end token but not the start token.

    Raises:
        ValueError: An option is invalid; the message names it and says what is allowed. Or a single source takes more
            memory than the device has.
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
    require_memory(model.config, search, input_ids.device)
    device, shape = input_ids.device, (len(input_ids), num_return_sequences, max_length)
    sequences_BRT = torch.empty(shape, dtype=torch.long, device=device)
    scores_BR = torch.empty(shape[:2], dtype=torch.float32, device=device)
    uniform_BKT = _uniform(shape, seed).to(device) if do_sample else None

    tokens_per_source = max(max_length * search.num_hypotheses, attention_mask.shape[1])
    padding = (0, rounded_up(input_ids.shape[1]) - input_ids.shape[1])
    input_ids, attention_mask = F.pad(input_ids, padding), F.pad(attention_mask, padding)
    training = model.training
    model.eval()
    try:
        weights = DecodingWeights(model)
        for rows, width in _length_groups(attention_mask, TOKENS_AT_ONCE // tokens_per_source):
            uniform = None if uniform_BKT is None else uniform_BKT[rows]
            with alone_on(device):
                found = _find(weights, input_ids[rows, :width], attention_mask[rows, :width], search, uniform)
                sequences_BRT[rows], scores_BR[rows] = found
    finally:
        model.train(training)

    sequences = sequences_BRT.flatten(0, 1)
    return sequences[:, : _longest_length(sequences, model.config.eos_token_id)], scores_BR.flatten()


def _find(
    weights: DecodingWeights, input_ids: Tensor, mask_BS: Tensor, search: Search, uniform_BKT: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the results of these sources, [B, R, T], and their scores, [B, R]; the caches live no longer."""
    decoder_class = FixedStepDecoder if input_ids.device.type == "cuda" else IncrementalDecoder
    branching = search.num_beams > 1
    memory_BSM = weights.encode(input_ids, mask_BS)
    decoder = decoder_class(weights, memory_BSM, mask_BS, search.num_hypotheses, search.max_length, branching)
    return beam_search(decoder, search) if branching else sample(decoder, search, uniform_BKT)


def _uniform(shape: tuple[int, int, int], seed: int | Sequence[torch.Generator] | None) -> Tensor:
    """Return uniform random numbers in [0, 1), of the given shape [B, K, T].

    One number per token, for all sources at once and on the CPU: then a sample depends neither on how sources are
    grouped nor on the device.
    """
    if seed is None or isinstance(seed, int):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return torch.rand(shape, dtype=torch.float32, generator=generator)
    uniform_BKT = torch.empty(shape, dtype=torch.float32)
    for uniform_KT, generator in zip(uniform_BKT, seed, strict=True):
        uniform_KT.uniform_(generator=generator)
    return uniform_BKT


def _length_groups(mask_BS: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield groups of at most `size` rows of similar length, each with the width that its longest row needs."""
    length_B, row_B = source_lengths(mask_BS).sort(stable=True)
    size = max(1, size)
    for length, row in zip(length_B.split(size), row_B.split(size), strict=True):
        if len(row):
            yield row, rounded_up(int(length[-1]))


def _longest_length(sequences_NT: Tensor, eos_token_id: int) -> int:
    """Return the length of the longest sequence, including its end token."""
    is_end_NT = sequences_NT[:, 1:] == eos_token_id
    length_N = torch.where(is_end_NT.any(1), is_end_NT.int().argmax(1) + 2, sequences_NT.shape[1])
    return max([1, *length_N.tolist()])
