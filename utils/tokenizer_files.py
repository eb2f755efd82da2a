"""Tokenizer files, ours or a published T5's: finding one in a folder, and loading it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.files import refuse_lfs_pointer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
"""Names of a tokenizer in a folder, in order of preference."""

ADDED_TOKENS, TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP = TOKEN_FILES = (
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""Files beside a published tokenizer that add tokens to it."""

TOKEN_FIELDS = {"added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "extra_ids"}
"""Fields of these files that say which tokens there are, beside those that name one (`eos_token`, ...)."""

Settings = dict[str, dict[str, Any]]
"""Contents of these files, by their names."""

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
    of a word start. Tokens that files beside it add (`TOKEN_FILES`) have the ids that these files give them.

    Args:
        path: A tokenizer.json, a spiece.model, or a folder that holds one of them (the first is preferred).

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read, or does not have T5's ids, or an added token cannot have its id.
    """
    from tokenizers import Tokenizer

    file = find_tokenizer_file(Path(path))
    if file is None:
        raise FileNotFoundError(
            f"tokenizer {path}: neither a file nor a folder that contains {' or '.join(TOKENIZER_FILES)}"
        )
    refuse_lfs_pointer(file)
    try:
        settings = _settings_beside(file)
        added = _added_tokens(settings)
        if file.suffix == ".json":
            tokenizer = _with_added_tokens(Tokenizer.from_file(str(file)), added)
        else:
            tokenizer = _from_sentencepiece(file, settings)
    except ImportError as error:
        raise ValueError(f"tokenizer {file} needs SentencePiece: pip install 'one-for-all[sentencepiece]'") from error
    except Exception as error:  # both libraries raise bare ones
        raise ValueError(f"tokenizer {file} cannot be read: {error}") from error
    # A published file may ask for truncation to 512 tokens and padding.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    check_tokenizer(tokenizer, str(file))
    for number, token in added.items():
        if tokenizer.token_to_id(token["content"]) != number:
            raise ValueError(
                f"tokenizer {file}: the files beside it give the added token {token['content']!r} the id {number}, but "
                f"it has {tokenizer.token_to_id(token['content'])}: ids of added tokens must start at the vocabulary's "
                "size"
            )
    return tokenizer


def _from_sentencepiece(file: Path, settings: Settings) -> Tokenizer:
    import google.protobuf  # noqa: F401  # transformers without these two asks for a third
    import sentencepiece  # noqa: F401
    from transformers import T5Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(file, Path(folder) / "spiece.model")  # the name that from_pretrained looks for
        for name, content in settings.items():
            (Path(folder) / name).write_text(json.dumps(content), encoding="utf-8")
        tokenizer: Tokenizer = T5Tokenizer.from_pretrained(folder).backend_tokenizer
        return tokenizer


def _settings_beside(file: Path) -> Settings:
    """Return what the files beside a tokenizer say about its tokens.

    Nothing else in them is read: transformers would pass every field on to its classes, file names included.
    """
    settings: Settings = {}
    for name in TOKEN_FILES if file.name in TOKENIZER_FILES else ():
        path = file.with_name(name)
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            if not isinstance(content, dict):
                raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
            settings[name] = {
                key: value
                for key, value in content.items()
                if name == ADDED_TOKENS
                or key in TOKEN_FIELDS
                or (key.endswith("_token") and isinstance(value, str | dict))
            }
    return settings


def _added_tokens(settings: Settings) -> dict[int, dict[str, Any]]:
    """Return the tokens that the files add, by id, as arguments of `tokenizers.AddedToken`, in order of their ids.

    As in transformers, `added_tokens_decoder` in tokenizer_config.json replaces the older added_tokens.json.
    """
    decoder = settings.get(TOKENIZER_CONFIG, {}).get("added_tokens_decoder")
    if decoder is None:
        special = {
            token["content"] if isinstance(token, dict) else token
            for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP)
            for field in ("additional_special_tokens", "extra_special_tokens")
            for token in settings.get(name, {}).get(field) or ()
        }
        decoder = {
            number: {"content": token, "special": token in special, "normalized": token not in special}
            for token, number in settings.get(ADDED_TOKENS, {}).items()
        }
    return {int(number): decoder[number] for number in sorted(decoder, key=int)}


def _with_added_tokens(tokenizer: Tokenizer, added: dict[int, dict[str, Any]]) -> Tokenizer:
    """Return a tokenizer with the tokens that the files beside it add, and that it does not have yet."""
    from tokenizers import AddedToken

    for fields in added.values():
        if tokenizer.token_to_id(fields["content"]) is None:
            add = tokenizer.add_special_tokens if fields.get("special") else tokenizer.add_tokens
            add([AddedToken(**fields)])
    return tokenizer


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id that a tokenizer gives to text that no token covers; None if it has none."""
    model = json.loads(tokenizer.to_str())["model"]
    if "unk_id" in model:
        number: int | None = model["unk_id"]
        return number
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)


def check_tokenizer(tokenizer: Tokenizer, name: str) -> None:
    """Raise ValueError unless padding is 0, the end of a sequence 1, and encoding appends the latter."""
    for token, number in ((SPECIAL_TOKENS[PAD_ID], PAD_ID), (SPECIAL_TOKENS[EOS_ID], EOS_ID)):
        if tokenizer.token_to_id(token) != number:
            raise ValueError(
                f"tokenizer {name}: {token} has id {tokenizer.token_to_id(token)}, but must have {number} as in T5"
            )
    if tokenizer.encode("a").ids[-1:] != [EOS_ID] or tokenizer.encode("").ids != [EOS_ID]:
        raise ValueError(f"tokenizer {name} must append {SPECIAL_TOKENS[EOS_ID]} to each sequence and prepend nothing")
    if (unknown := unknown_id(tokenizer)) in (PAD_ID, EOS_ID):
        raise ValueError(
            f"tokenizer {name}: unknown text has id {unknown}, which is that of {SPECIAL_TOKENS[unknown]}: give it "
            f"another id, such as {UNK_ID} ({SPECIAL_TOKENS[UNK_ID]}), as in T5"
        )
