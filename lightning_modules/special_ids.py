"""Check that a network has the special tokens of its tokenizer."""

from tokenizers import Tokenizer

from architectures.t5.config import T5Config
from utils.tokenizer_files import EOS_ID, PAD_ID


def check_special_ids(config: T5Config, tokenizer: Tokenizer) -> None:
    """Raise ValueError unless the network's special tokens are those of the tokenizer."""
    expected = {"pad_token_id": PAD_ID, "eos_token_id": EOS_ID}  # of every tokenizer, see `check_tokenizer`
    for field, number in expected.items():
        if (mine := getattr(config, field)) != number:
            raise ValueError(
                f"model.architecture.config.{field} is {mine}, but {tokenizer.id_to_token(number)} has id {number} "
                f"in the tokenizer; pass --model.architecture.config.{field} {number}, or the tokenizer that "
                "belongs to the weights"
            )
    start = config.decoder_start_token_id
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    token = tokenizer.id_to_token(start)
    if start == EOS_ID or (token is not None and start not in special | {PAD_ID}):
        raise ValueError(
            f"model.architecture.config.decoder_start_token_id is {start}, which is {token!r} in the tokenizer and "
            f"would be removed from generated text; pass {PAD_ID}, as in T5, or the id of a special token"
        )
