"""Prints the BLEU of a test regardless of case, over Moses' tokens: what papers from before sacreBLEU report.

    python -m scripts.moses_bleu RUN_FOLDER --language de

Reads `test_hypotheses.txt` and `test_references.txt`, which `oneforall test` writes. Both are taken through Moses'
punctuation normaliser and tokeniser, as rewritten in sacremoses, for the language they are in.
"""

import argparse
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path


def moses_tokens(texts: Sequence[str], language: str) -> list[str]:
    """The texts with single spaces between tokens; `language` is a code of two letters such as "de"."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    return [tokenizer.tokenize(normalizer.normalize(text), return_str=True) for text in texts]


def moses_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str) -> tuple[float, str]:
    """The BLEU of the hypotheses, of which each has one reference or more, and sacreBLEU's signature of it."""
    from sacrebleu.metrics import BLEU

    bleu = BLEU(lowercase=True, tokenize="none", force=True)  # force: no warning that there are tokens already
    columns = zip_longest(*(moses_tokens(alternatives, language) for alternatives in references))
    score = bleu.corpus_score(moses_tokens(hypotheses, language), [list(column) for column in columns])
    return score.score, str(bleu.get_signature())


def read_lines(path: Path) -> list[str]:
    """The lines of a file that `oneforall test` wrote."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and prints the score."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="a run folder that was tested")
    parser.add_argument("--language", required=True, help="that of the hypotheses, such as de")
    options = parser.parse_args(arguments)
    try:
        hypotheses, references = (
            read_lines(options.folder / f"test_{name}.txt") for name in ("hypotheses", "references")
        )
    except OSError as error:
        parser.error(f"{error}: `oneforall test --ckpt_path` writes it")
    if len(hypotheses) != len(references):
        parser.error(f"{len(hypotheses)} hypotheses and {len(references)} lines of references: test the run once more")
    score, signature = moses_bleu(hypotheses, [line.split("\t") for line in references], options.language)
    print(f"BLEU {score:.2f} ({signature}, tokens of Moses)")


if __name__ == "__main__":
    main()
