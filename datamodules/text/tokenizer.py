"""Tokenizers in the manner of T5: trained here or published, always a plain `tokenizers.Tokenizer`.

    python -m datamodules.text.tokenizer --vocab_size 8000 --output tokenizer.json train.en.gz train.de.gz

The vocabulary is `<pad>` 0, `</s>` 1, `<unk>` 2, a piece for each of the 256 bytes, the pieces learnt, and last the
sentinels of span corruption, `<extra_id_0>` the very last (Raffel et al. 2020, arXiv:1910.10683; the bytes are an
addition: what no piece covers is spelt in UTF-8). Text survives encoding and decoding but for white space, which
becomes single spaces, and the tokens' own names: a literal `</s>` ends a sequence, and is left out of decoded text.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from datamodules.text.files import read_lines
from utils.checks import check_choice, check_int
from utils.files import atomic_path
from utils.tokenizer_files import EOS_ID, SPECIAL_TOKENS, UNK_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenizerModel = Literal["unigram", "bpe"]

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
WORD_START = "▁"
_DOUBLE = "\ue000"  # for private use: no text has it
# A word, a digit, a punctuation mark or a symbol is a unit that no piece crosses, together with the mark that it begins
# a word. (SentencePiece too keeps scripts and digits apart: else "dog" and "dog." are two pieces that share nothing.)
_UNITS = rf"{WORD_START}?([\p{{P}}\p{{S}}\p{{N}}]|[^{WORD_START}\p{{P}}\p{{S}}\p{{N}}]+)"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, model: TokenizerModel = "unigram", num_sentinels: int = 100
) -> Tokenizer:
    """Learn pieces from texts.

    Text is brought to Unicode's NFC; runs of white space are one word boundary.

    Args:
        texts: What to learn from.
        vocab_size: Size of the whole vocabulary, special tokens, bytes and sentinels included. It turns out smaller
            where the texts hold fewer different words.
        model: "unigram" (Kudo 2018, arXiv:1804.10959) or "bpe" (Sennrich et al. 2016, arXiv:1508.07909).
        num_sentinels: Tokens `<extra_id_0>`, `<extra_id_1>`, ... at the end of the vocabulary.

    Raises:
        ValueError: An argument is impossible, or there is no text.
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
    known = _common_characters([normalizer.normalize_str(text) for text in texts], (vocab_size - fixed) // 2)
    learn = _learn_unigram if model == "unigram" else _learn_bpe
    tokenizer = Tokenizer(learn(known, pre_tokenizer, vocab_size - fixed))
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


def _common_characters(texts: list[str], most: int) -> list[str]:
    """The texts without any but the commonest `most` characters: each character takes a piece, and may leave none.

    What is left out here is spelt in bytes later.
    """
    counts = Counter(character for text in texts for character in text if not character.isspace())
    if not counts:
        raise ValueError("there is no text to train a tokenizer on")
    # By the character itself where counts are equal: the order must not depend on where it came first.
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    rare = dict.fromkeys(map(ord, ranked[most:]))
    return [text.translate(rare) for text in texts] if rare else texts


def _learn_bpe(texts: list[str], pre_tokenizer: Any, count: int) -> Any:
    """A BPE model with `count` pieces, after T5's first three ids and the bytes."""
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizer
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=count, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    vocabulary = {piece: place for place, piece in enumerate([*SPECIAL_TOKENS, *BYTES, *pieces])}
    merges = [tuple(merge) for merge in learnt["merges"]]
    return models.BPE(vocabulary, merges, unk_token=SPECIAL_TOKENS[UNK_ID], byte_fallback=True)


def _learn_unigram(texts: list[str], pre_tokenizer: Any, count: int) -> Any:
    """A Unigram model with `count` pieces, after T5's first three ids and the bytes.

    The trainer of `tokenizers` begins with the substrings that occur in two different words. A frequent word that is
    part of no other ("wearing") would not be among them: on Multi30k's 58,000 sentences that made sequences a sixth
    longer than BPE's. So each is given a double with a mark at its end, and what contains the mark is left out.
    """
    from tokenizers import Tokenizer, models, trainers

    words = Counter(word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text))
    doubles = [
        word[1:] + _DOUBLE for word, times in words.items() if times > 2 and len(word) > 2 and word[0] == WORD_START
    ]
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=count + count // 8 + 2,
        show_progress=False,
        unk_token=SPECIAL_TOKENS[UNK_ID],
        special_tokens=[SPECIAL_TOKENS[UNK_ID]],
    )
    learner.train_from_iterator([*texts, *doubles], trainer)
    learnt = [pair for pair in json.loads(learner.to_str())["model"]["vocab"] if pair[0] != SPECIAL_TOKENS[UNK_ID]]
    scored = [(piece, score) for piece, score in _settled(learnt) if _DOUBLE not in piece]
    # Single characters stay, as in the trainer's own last step; of the others the likeliest do.
    scored.sort(key=lambda pair: (len(pair[0]) > 1, -pair[1], pair[0]))
    scored = scored[:count]
    # The score of a byte is never looked at; one below all others would make unknown characters dearer.
    lowest = min(score for _, score in scored)
    reserved = [(piece, 0.0) for piece in SPECIAL_TOKENS] + [(piece, lowest) for piece in BYTES]
    return models.Unigram(reserved + scored, unk_id=UNK_ID, byte_fallback=True)


def _settled(scored: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The scores without what differs from one training on the same texts to the next.

    The trainer gives characters that no sentence needed the lowest score plus 0.0001, 0.0002, ..., in the order of a
    hash table: here they get the lowest. And sums of several threads differ in their last digits, which are rounded off
    (few digits also survive JSON as they are).
    """
    lowest = min(score for _, score in scored)
    unneeded = lowest + 0.0001 * sum(len(piece) == 1 for piece, _ in scored) + 1e-6
    return [(piece, round(lowest if len(piece) == 1 and score < unneeded else score, 6)) for piece, score in scored]


def sentinel_ids(tokenizer: Tokenizer) -> list[int]:
    """The ids of `<extra_id_0>`, `<extra_id_1>`, ..., as many as the tokenizer has."""
    ids: list[int] = []
    while (number := tokenizer.token_to_id(f"<extra_id_{len(ids)}>")) is not None:
        ids.append(number)
    return ids


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a tokenizer on text files."""
    parser = argparse.ArgumentParser(prog="python -m datamodules.text.tokenizer", description=main.__doc__)
    parser.add_argument("files", nargs="+", help="text files, plain or gzip")
    parser.add_argument("--vocab_size", type=int, default=8000, help="size of the vocabulary, all included")
    parser.add_argument("--model", choices=get_args(TokenizerModel), default="unigram", help="how pieces are found")
    parser.add_argument("--num_sentinels", type=int, default=100, help="tokens <extra_id_0>, ... for span corruption")
    parser.add_argument("--output", default="tokenizer.json", help="file to write")
    options = parser.parse_args(arguments)
    try:
        texts = [line for file in options.files for line in read_lines(file, "file")]
        tokenizer = train_tokenizer(texts, options.vocab_size, options.model, options.num_sentinels)
        with atomic_path(Path(options.output)) as temporary:
            tokenizer.save(str(temporary))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{options.output}: {tokenizer.get_vocab_size():,} tokens from {len(texts):,} lines")


if __name__ == "__main__":
    main()
