"""Tokenizer files: where one is in a folder, and how one is opened, ours or a published T5's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from utils.files import refuse_lfs_pointer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
"""Names of a tokenizer in a folder, in order of preference."""

PAD_ID, EOS_ID, UNK_ID = 0, 1, 2
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
"""T5's special tokens (Raffel et al. 2020, arXiv:1910.10683), by their ids."""


def find_tokenizer_file(path: Path) -> Path | None:
    """Return the tokenizer file that `path` is, or that is in the folder `path`; None if there is none."""
    candidates = [path / name for name in TOKENIZER_FILES] if path.is_dir() else [path]
    return next((file for file in candidates if file.is_file()), None)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Open a tokenizer, ours or a published T5's.

    A `spiece.model` goes through transformers' T5Tokenizer with its 100 sentinels. That is the `legacy=True` behaviour
    of transformers 4, the one published T5 checkpoints were trained with: text after a sentinel begins with the mark
    of a word start.

    Args:
        path: A tokenizer.json, a spiece.model, or a folder that holds one of them (the first is preferred).

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read, or does not have T5's ids.
    """
    from tokenizers import Tokenizer

    file = find_tokenizer_file(Path(path))
    if file is None:
        raise FileNotFoundError(
            f"tokenizer {path}: no such file, and no folder that holds {' or '.join(TOKENIZER_FILES)}"
        )
    refuse_lfs_pointer(file)
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.suffix == ".json" else _from_sentencepiece(file)
    except ImportError as error:
        raise ValueError(f"tokenizer {file} needs SentencePiece: pip install 'one-for-all[sentencepiece]'") from error
    except Exception as error:  # both libraries raise bare ones
        raise ValueError(f"tokenizer {file} cannot be read: {error}") from error
    # A published file may ask for truncation to 512 tokens and padding.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    check_tokenizer(tokenizer, str(file))
    return tokenizer


def _from_sentencepiece(file: Path) -> Tokenizer:
    import google.protobuf  # noqa: F401  # transformers without these two asks for a third
    import sentencepiece  # noqa: F401
    from transformers import T5Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(file, Path(folder) / "spiece.model")  # the name that from_pretrained looks for
        tokenizer: Tokenizer = T5Tokenizer.from_pretrained(folder).backend_tokenizer
        return tokenizer


def check_tokenizer(tokenizer: Tokenizer, name: str) -> None:
    """Raise ValueError unless padding is 0, the end of a sequence 1, and encoding appends the latter."""
    for token, number in ((SPECIAL_TOKENS[PAD_ID], PAD_ID), (SPECIAL_TOKENS[EOS_ID], EOS_ID)):
        if tokenizer.token_to_id(token) != number:
            raise ValueError(
                f"tokenizer {name}: {token} has id {tokenizer.token_to_id(token)}, but must have {number} as in T5"
            )
    if tokenizer.encode("a").ids[-1:] != [EOS_ID] or tokenizer.encode("").ids != [EOS_ID]:
        raise ValueError(
            f"tokenizer {name} must end each sequence with {SPECIAL_TOKENS[EOS_ID]} and begin it with nothing"
        )
