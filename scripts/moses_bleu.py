"""Lower-cased BLEU over Moses tokens, as papers from before sacreBLEU report it.

    python -m scripts.moses_bleu RUN_FOLDER --language de [--output FILE.json]

Reads `test_hypotheses.txt` and `test_references.txt`, which `oneforall test` writes, and passes both through Moses'
punctuation normaliser and tokeniser for their language, as reimplemented in sacremoses. The file has the score, its
signature, and the SHA-256 of the scored hypotheses.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from scripts.release_checkpoints import digest
from utils.files import write_text


def moses_tokens(texts: Sequence[str], language: str) -> list[str]:
    """Return the texts with a single space between tokens; `language` is a two-letter code such as "de"."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    return [tokenizer.tokenize(normalizer.normalize(text), return_str=True) for text in texts]


def moses_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str) -> tuple[float, str]:
    """Return the BLEU of the hypotheses, each with one or more references, and sacreBLEU's signature of it."""
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(lowercase=True, tokenize="none", force=True)  # force: do not warn about tokenised input
    columns = zip_longest(*(moses_tokens(alternatives, language) for alternatives in references))
    score = bleu.corpus_score(moses_tokens(hypotheses, language), [list(column) for column in columns])
    return score.score, str(bleu.get_signature())


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file that `oneforall test` wrote."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, print the score and, with `--output`, write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of a tested run")
    parser.add_argument("--language", required=True, help="language of the hypotheses, such as de")
    parser.add_argument("--output", type=Path, help="JSON file to write, such as results/en-de/moses_bleu.json")
    options = parser.parse_args(arguments)
    try:
        hypotheses, references = (
            read_lines(options.folder / f"test_{name}.txt") for name in ("hypotheses", "references")
        )
    except OSError as error:
        parser.error(f"{error}: run `oneforall test --ckpt_path` first, which writes it")
    if len(hypotheses) != len(references):
        parser.error(
            f"{len(hypotheses)} hypotheses but {len(references)} lines of references: run `oneforall test` again"
        )
    try:
        score, signature = moses_bleu(hypotheses, [line.split("\t") for line in references], options.language)
    except ModuleNotFoundError as error:
        parser.error(f"{error}: run `pip install sacremoses`, or install the extra one-for-all[dev]")
    print(f"BLEU {score:.2f} ({signature}, Moses tokens)")
    if options.output is not None:
        scored = digest(options.folder / "test_hypotheses.txt")
        record = {"bleu": score, "signature": f"bleu {signature}, Moses tokens", "hypotheses_sha256": scored}
        write_text(options.output, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
