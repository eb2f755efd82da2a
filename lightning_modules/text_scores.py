"""Scores of written text against references: exact match, BLEU, chrF and ROUGE."""

from collections.abc import Sequence
from typing import Any, Literal

ScoreName = Literal["exact_match", "bleu", "chrf", "rouge"]
"""What `score_texts` can compute."""

BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]
"""sacreBLEU's tokenizers that need no further package."""

References = Sequence[Sequence[str]]
"""At least one reference for each text."""

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


def score_texts(
    hypotheses: Sequence[str],
    references: References,
    scores: Sequence[ScoreName],
    bleu_tokenizer: BleuTokenizer = "13a",
) -> dict[str, float]:
    """Scores texts, all of them together.

    - `exact_match`: share of the texts, from 0 to 1, that equal one of their references but for white space.
    - `bleu`: corpus BLEU of sacreBLEU (Post 2018, arXiv:1804.08771), cased, from 0 to 100.
    - `chrf`: corpus chrF2 of sacreBLEU (Popović 2015), from 0 to 100.
    - `rouge`: three entries, `rouge1`, `rouge2` and `rougeL`, the mean F-measures (Lin 2004), from 0 to 100, with the
      best reference of each text; where a text has several, also `rouge1_mean` and so on, with the mean over them.
      Lower-cased, no stemming; whatever is not a to z or 0 to 9 parts words, so it suits English.

    Args:
        hypotheses: What was written.
        references: At least one reference for each.
        scores: Which to compute.
        bleu_tokenizer: How BLEU parts words; 13a finds those between spaces, and whole sentences in Chinese.

    Returns:
        A number for each name; nothing where there are no texts.
    """
    results: dict[str, float] = {}
    for name in scores if hypotheses else ():
        if name == "exact_match":
            results[name] = _exact_match(hypotheses, references)
        elif name == "rouge":
            results |= _rouge(hypotheses, references)
        else:
            results[name] = _sacrebleu(name, bleu_tokenizer).corpus_score(list(hypotheses), _streams(references)).score
    return results


def names_of(scores: Sequence[ScoreName]) -> list[str]:
    """Every name that `score_texts` may give a number."""
    names: list[str] = []
    for name in scores:
        names += [*ROUGE_TYPES, *(f"{kind}_mean" for kind in ROUGE_TYPES)] if name == "rouge" else [name]
    return names


def signature(references: References, scores: Sequence[ScoreName], bleu_tokenizer: BleuTokenizer = "13a") -> str:
    """How the scores were computed, in one line: sacreBLEU's own signatures, and their like for the others.

    Args:
        references: Those that were scored against: their number is part of a signature.
        scores: Which were computed.
        bleu_tokenizer: See `score_texts`.
    """
    return "; ".join(f"{name} {_signature(name, references, bleu_tokenizer)}" for name in scores)


def _signature(name: ScoreName, references: References, bleu_tokenizer: BleuTokenizer) -> str:
    if name == "exact_match":
        return "whitespace:collapsed"
    if name == "rouge":
        import torchmetrics

        return f"F-measure|refs:best|case:lc|stemmer:no|torchmetrics:{torchmetrics.__version__}"
    scorer = _sacrebleu(name, bleu_tokenizer)
    # sacreBLEU counts the references as it scores; one text for each number of them will do.
    examples = list({len(those): those for those in references}.values())
    scorer.corpus_score([those[0] for those in examples], _streams(examples))
    return str(scorer.get_signature())


def _exact_match(hypotheses: Sequence[str], references: References) -> float:
    matches = [
        " ".join(hypothesis.split()) in {" ".join(reference.split()) for reference in those}
        for hypothesis, those in zip(hypotheses, references, strict=True)
    ]
    return sum(matches) / len(matches)


def _sacrebleu(name: str, bleu_tokenizer: BleuTokenizer) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(tokenize=bleu_tokenizer) if name == "bleu" else CHRF()


def _streams(references: References) -> list[list[str | None]]:
    """All first references, all second ones, ..., with None where a text has fewer: what sacreBLEU takes."""
    most = max(len(those) for those in references)
    return [[those[k] if k < len(those) else None for those in references] for k in range(most)]


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
