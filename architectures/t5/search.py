"""Decoding options: beam search, sampling and length limits."""

from dataclasses import dataclass

from utils.checks import check_choice, check_int, check_positive, check_positive_int

MAX_PENALTY = 10
"""Largest length penalty: a power of the length, which must not overflow."""


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
        min_length: Minimum length of a result in tokens, including the start token but not the end token; at most
            `max_length`.
        no_repeat_ngram_size: Size of n-grams that may occur only once in a result; 0 allows all repetitions.
        do_sample: Whether to sample each token from the model's distribution instead of searching.
        top_k: Number of most probable tokens to sample from; 0, or more than the vocabulary has, for all.
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
        if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not abs(penalty) <= MAX_PENALTY:
            raise ValueError(f"length_penalty must be a number from {-MAX_PENALTY} to {MAX_PENALTY}, got {penalty!r}")
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
