"""Training of tokenizers like T5's, each a plain `tokenizers.Tokenizer`.

It is also a command:

    python -m datamodules.text.tokenizer --vocab_size 8000 --output tokenizer.json train.en.gz train.de.gz

The vocabulary is `<pad>` 0, `</s>` 1, `<unk>` 2, a token for each of the 256 bytes, the tokens learned from the texts,
and the sentinels of span corruption, `<extra_id_0>` last (Raffel et al. 2020, arXiv:1910.10683). The bytes are an
addition: what no other token covers is encoded as the bytes of its UTF-8. Encoding and decoding preserve a text except
for white space, which becomes single spaces, as does the character U+2581, and the names of special tokens: a literal
`</s>` ends a sequence and is omitted from decoded text.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from datamodules.text.files import read_lines
from utils.checks import check_choice, check_int
from utils.files import write_text
from utils.tokenizer_files import EOS_ID, SPECIAL_TOKENS, UNK_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenizerModel = Literal["unigram", "bpe"]

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
WORD_START = "▁"
_COPY_END = "\ue000"  # a private use character, which no text should have
# No token crosses the border of a word, a digit, a punctuation mark or a symbol, each with the mark of a word start if
# it has one. (SentencePiece also separates scripts and digits: otherwise "dog" and "dog." share no token.)
_UNITS = rf"{WORD_START}?([\p{{P}}\p{{S}}\p{{N}}]|[^{WORD_START}\p{{P}}\p{{S}}\p{{N}}]+)"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, model: TokenizerModel = "unigram", num_sentinels: int = 100
) -> Tokenizer:
    """Train a tokenizer on texts.

    It normalizes text to Unicode NFC and takes each run of white space as one word boundary.

    Args:
        texts: The texts to train on.
        vocab_size: Vocabulary size, special tokens, bytes and sentinels included. The vocabulary is smaller if the
            texts have too few different words.
        model: "unigram" (Kudo 2018, arXiv:1804.10959) or "bpe" (Sennrich et al. 2016, arXiv:1508.07909).
        num_sentinels: Number of tokens `<extra_id_0>`, `<extra_id_1>`, ... at the end of the vocabulary.

    Raises:
        ValueError: An argument is out of range, or there is no text.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors

    check_choice("tokenizer_model", model, get_args(TokenizerModel))
    check_int("num_sentinels", num_sentinels)
    fixed = len(SPECIAL_TOKENS) + len(BYTES) + num_sentinels
    if vocab_size < fixed + 16:
        raise ValueError(
            f"vocab_size must be at least {fixed + 16}, since it includes {len(SPECIAL_TOKENS)} special tokens, "
            f"{len(BYTES)} bytes and {num_sentinels} sentinels, got {vocab_size}"
        )
    normalizer = normalizers.NFC()
    pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(_UNITS), behavior="isolated"),
        ]
    )
    normalized = [normalizer.normalize_str(text) for text in texts]
    common = _keep_common_characters(normalized, (vocab_size - fixed) // 2)
    train = _train_unigram if model == "unigram" else _train_bpe
    tokenizer = Tokenizer(train(common, pre_tokenizer, vocab_size - fixed))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(WORD_START, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {SPECIAL_TOKENS[EOS_ID]}",
        pair=f"$A {SPECIAL_TOKENS[EOS_ID]} $B {SPECIAL_TOKENS[EOS_ID]}",
        special_tokens=[(SPECIAL_TOKENS[EOS_ID], EOS_ID)],
    )
    tokenizer.add_special_tokens(
        [*SPECIAL_TOKENS, *(f"<extra_id_{number}>" for number in reversed(range(num_sentinels)))]
    )
    return tokenizer


def _keep_common_characters(texts: list[str], count: int) -> list[str]:
    """Return the texts without any but the `count` most frequent characters.

    Each character takes a token, so that rare ones might leave none for words. Those removed are encoded as bytes.
    """
    counts = Counter(character for text in texts for character in text if not character.isspace())
    if not counts:
        raise ValueError("there is no text to train the tokenizer on")
    # Characters of equal counts are sorted by code point, so that the order does not depend on that of the texts.
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    rare = dict.fromkeys(map(ord, ranked[count:]))
    return [text.translate(rare) for text in texts] if rare else texts


def _train_bpe(texts: list[str], pre_tokenizer: Any, count: int) -> Any:
    """Return a BPE model with `count` learned tokens after T5's special tokens and the bytes."""
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizer
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=count, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    tokens = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *BYTES, *tokens])}
    merges = [tuple(merge) for merge in learned["merges"]]
    return models.BPE(vocabulary, merges, unk_token=SPECIAL_TOKENS[UNK_ID], byte_fallback=True)


def _train_unigram(texts: list[str], pre_tokenizer: Any, count: int) -> Any:
    """Return a Unigram model with `count` learned tokens after T5's special tokens and the bytes.

    The trainer of `tokenizers` starts from the substrings that occur in two different words, which a frequent word that
    is part of no other ("wearing") is not: on the 58,000 sentences of Multi30k, sequences came out a sixth longer than
    with BPE. Each frequent word therefore gets a copy with a mark at its end, and tokens with the mark are removed.
    """
    from tokenizers import Tokenizer, models, trainers

    words = Counter(word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text))
    copies = [
        word[1:] + _COPY_END for word, times in words.items() if times > 2 and len(word) > 2 and word[0] == WORD_START
    ]
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=count + count // 8 + 2,
        show_progress=False,
        unk_token=SPECIAL_TOKENS[UNK_ID],
        special_tokens=[SPECIAL_TOKENS[UNK_ID]],
    )
    learner.train_from_iterator([*texts, *copies], trainer)
    learned = [pair for pair in json.loads(learner.to_str())["model"]["vocab"] if pair[0] != SPECIAL_TOKENS[UNK_ID]]
    scored = [(token, score) for token, score in _reproducible(learned) if _COPY_END not in token]
    # All single characters stay, as in the last step of the trainer, and the most probable of the other tokens.
    scored.sort(key=lambda pair: (len(pair[0]) > 1, -pair[1], pair[0]))
    scored = scored[:count]
    # The score of a byte is never used, but one below all others would lower the score of unknown characters.
    lowest = min(score for _, score in scored)
    reserved = [(token, 0.0) for token in SPECIAL_TOKENS] + [(token, lowest) for token in BYTES]
    return models.Unigram(reserved + scored, unk_id=UNK_ID, byte_fallback=True)


def _reproducible(scored: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return tokens and scores without what differs between two training runs on the same texts.

    To characters that no sentence needs, the trainer gives the lowest score plus 0.0001, 0.0002, ..., in the order of a
    hash table; here they get the lowest score. The last digits of all scores depend on the order in which the sums of
    several threads are added, and are rounded off (besides, JSON preserves numbers of few digits).
    """
    lowest = min(score for _, score in scored)
    unneeded = lowest + 0.0001 * sum(len(token) == 1 for token, _ in scored) + 1e-6
    return [(token, round(lowest if len(token) == 1 and score < unneeded else score, 6)) for token, score in scored]


def sentinel_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids of `<extra_id_0>`, `<extra_id_1>`, ..., as many as the tokenizer has."""
    ids: list[int] = []
    while (number := tokenizer.token_to_id(f"<extra_id_{len(ids)}>")) is not None:
        ids.append(number)
    return ids


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a tokenizer on text files."""
    parser = argparse.ArgumentParser(prog="python -m datamodules.text.tokenizer", description=main.__doc__)
    parser.add_argument("files", nargs="+", help="text files, UTF-8, plain or gzip")
    parser.add_argument(
        "--vocab_size", type=int, default=8000, help="vocabulary size, special tokens included (default: %(default)s)"
    )
    parser.add_argument(
        "--model", choices=get_args(TokenizerModel), default="unigram", help="kind of tokenizer (default: %(default)s)"
    )
    parser.add_argument(
        "--num_sentinels",
        type=int,
        default=100,
        help="number of tokens <extra_id_0>, ... for span corruption (default: %(default)s)",
    )
    parser.add_argument("--output", default="tokenizer.json", help="file to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        texts = [line for file in options.files for line in read_lines(file, "file")]
        tokenizer = train_tokenizer(texts, options.vocab_size, options.model, options.num_sentinels)
        write_text(options.output, tokenizer.to_str(pretty=True))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{options.output}: {tokenizer.get_vocab_size():,} tokens from {len(texts):,} lines")


if __name__ == "__main__":
    main()
