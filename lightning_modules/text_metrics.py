"""Metrics of generated text against references: exact match, BLEU, chrF and ROUGE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from utils.checks import check_choice

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

ScoreName = Literal["exact_match", "bleu", "chrf", "rouge"]
"""What `score_texts` can compute."""

BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]
"""sacreBLEU's tokenizers that need no further package."""

References = Sequence[Sequence[str]]
"""At least one reference per text."""

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


def score_texts(
    hypotheses: Sequence[str],
    references: References,
    scores: Sequence[ScoreName],
    bleu_tokenizer: BleuTokenizer = "13a",
) -> dict[str, float]:
    """Return the scores of all texts together.

    - `exact_match`: share of the texts, from 0 to 1, that equal one of their references. White space at both ends is
      ignored, and any run of it counts as one space.
    - `bleu`: corpus BLEU of sacreBLEU (Post 2018, arXiv:1804.08771), cased, from 0 to 100.
    - `chrf`: corpus chrF2 of sacreBLEU (Popović 2015), from 0 to 100.
    - `rouge`: three entries, `rouge1`, `rouge2` and `rougeL`, the mean F-measures (Lin 2004), from 0 to 100, with the
      best reference of each text. If a text has several references, also `rouge1_mean` and so on, with the mean over
      them. Lower-cased, no stemming; everything but a to z and 0 to 9 separates words, so it suits English.

    Args:
        hypotheses: Generated texts.
        references: At least one reference per text.
        scores: Which scores to compute.
        bleu_tokenizer: How BLEU separates words; 13a splits at spaces, so a Chinese sentence is one word.

    Returns:
        Values by name; empty if there are no texts.
    """
    results: dict[str, float] = {}
    for name in scores if hypotheses else ():
        if name == "exact_match":
            results[name] = _exact_match(hypotheses, references)
        elif name == "rouge":
            results |= _rouge(hypotheses, references)
        else:
            results[name] = _corpus_score(_scorer(name, bleu_tokenizer), hypotheses, references)
    return results


def score_names(scores: Sequence[ScoreName]) -> tuple[ScoreName, ...]:
    """Return the names of scores to compute.

    Raises:
        ValueError: There is no such score, or they are one string, whose letters would be names.
    """
    if isinstance(scores, str):
        raise ValueError(f"scores must be a list such as [{scores}], got {scores!r}")
    for name in scores:
        check_choice("scores", name, get_args(ScoreName))
    return tuple(scores)


def names_of(scores: Sequence[ScoreName]) -> list[str]:
    """Return every name for which `score_texts` may return a value."""
    names: list[str] = []
    for name in scores:
        names += [*ROUGE_TYPES, *(f"{kind}_mean" for kind in ROUGE_TYPES)] if name == "rouge" else [name]
    return names


def signature(references: References, scores: Sequence[ScoreName], bleu_tokenizer: BleuTokenizer = "13a") -> str:
    """Return how the scores are computed, in one line: sacreBLEU's signatures, and similar ones for other scores.

    Args:
        references: The references scored against; their number is part of a signature.
        scores: Which scores are computed.
        bleu_tokenizer: As in `score_texts`.
    """
    return "; ".join(f"{name} {_signature(name, references, bleu_tokenizer)}" for name in scores)


def _signature(name: ScoreName, references: References, bleu_tokenizer: BleuTokenizer) -> str:
    if name == "exact_match":
        return "whitespace:collapsed"
    if name == "rouge":
        import torchmetrics

        return f"F-measure|refs:best|case:lc|stemmer:no|torchmetrics:{torchmetrics.__version__}"
    scorer = _scorer(name, bleu_tokenizer)
    # sacreBLEU counts references while it scores; one text for each number of references is enough.
    examples = list({len(those): those for those in references}.values())
    _corpus_score(scorer, [those[0] for those in examples], examples)
    return str(scorer.get_signature())


def _exact_match(hypotheses: Sequence[str], references: References) -> float:
    matches = [
        " ".join(hypothesis.split()) in {" ".join(reference.split()) for reference in those}
        for hypothesis, those in zip(hypotheses, references, strict=True)
    ]
    return sum(matches) / len(matches)


def _scorer(name: Literal["bleu", "chrf"], bleu_tokenizer: BleuTokenizer) -> BLEU | CHRF:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(tokenize=bleu_tokenizer) if name == "bleu" else CHRF()


def _corpus_score(scorer: BLEU | CHRF, hypotheses: Sequence[str], references: References) -> float:
    most = max(len(those) for those in references)
    # All first references, all second ones, and so on; None, which sacreBLEU does not declare, for missing ones.
    streams = [[those[k] if k < len(those) else None for those in references] for k in range(most)]
    return float(scorer.corpus_score(list(hypotheses), streams).score)  # type: ignore[arg-type]


def _rouge(hypotheses: Sequence[str], references: References) -> dict[str, float]:
    results = _rouge_f_measures(hypotheses, references, "best")
    if any(len(those) > 1 for those in references):
        means = _rouge_f_measures(hypotheses, references, "avg")
        results |= {f"{name}_mean": value for name, value in means.items()}
    return results


def _rouge_f_measures(
    hypotheses: Sequence[str], references: References, accumulate: Literal["avg", "best"]
) -> dict[str, float]:
    from torchmetrics.functional.text import rouge_score

    targets = [list(those) for those in references]
    found = rouge_score(list(hypotheses), targets, accumulate, rouge_keys=ROUGE_TYPES)
    return {name: 100 * float(found[f"{name}_fmeasure"]) for name in ROUGE_TYPES}
