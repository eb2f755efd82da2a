"""Configuration of a T5, with the field names of a published `config.json`, and the published sizes.

Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. JMLR 2020.
arXiv:1910.10683 ("the paper" below). Version 1.1 changed the feed-forward layer (Shazeer 2020, arXiv:2002.05202) and
untied the output layer; Chung et al. 2022 (arXiv:2210.11416, FLAN-T5) fine-tuned it on instructions.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from utils.checks import check_choice, check_fraction, check_positive, check_positive_int

FeedForwardProj = Literal["relu", "gated-gelu"]
DropoutPlaces = Literal["all", "residual"]

_SIZES_1_0: dict[str, dict[str, Any]] = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 24, "num_heads": 16},
    "3b": {"d_model": 1024, "d_kv": 128, "d_ff": 16384, "num_layers": 24, "num_heads": 32},
}
_SIZES_1_1: dict[str, dict[str, Any]] = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16},
    "xl": {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
}
_VERSION_1_1: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

PRESETS: dict[str, dict[str, Any]] = {
    # Ours, for translation from scratch with about 10^4 sentence pairs.
    "t5-tiny": {"vocab_size": 8000, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 3, "num_heads": 4},
    **{f"t5-{size}": fields for size, fields in _SIZES_1_0.items()},
    **{f"t5-v1_1-{size}": fields | _VERSION_1_1 for size, fields in _SIZES_1_1.items()},
    **{f"flan-t5-{size}": fields | _VERSION_1_1 for size, fields in _SIZES_1_1.items()},
}
"""Fields in which each published size, and our "t5-tiny", differ from the defaults of `T5Config`."""


@dataclass
class T5Config:
    """Configuration of a T5; the defaults are those of t5-small.

    Args:
        vocab_size: Number of rows of the embedding, at least the tokenizer's number of tokens. The default is that of
            the published weights: 32,000 pieces, 100 sentinels and padding.
        d_model: Width of the residual stream (the paper, section 2.1).
        d_kv: Width of a head's queries, keys and values; `d_kv * num_heads` may differ from `d_model`.
        d_ff: Width inside the feed-forward layers.
        num_layers: Number of encoder blocks.
        num_decoder_layers: Number of decoder blocks; if null, the value of `num_layers`.
        num_heads: Number of heads of each attention layer.
        relative_attention_num_buckets: Number of learned position offsets per head (section 2.1: 32), at least 4: the
            encoder uses half of them for each direction, and half of those for single distances.
        relative_attention_max_distance: Distance in tokens from which all distances share the last bucket (section 2.1:
            128); above half of the number of buckets.
        dropout_rate: Dropout probability, in [0, 1), at the places below (sections 2.1 and 3.1.1: 0.1).
        dropout_places: "residual" for embeddings and the output of each layer, before it is added to its input (Vaswani
            et al. 2017, arXiv:1706.03762, section 5.4); "all" for attention weights, the inside of the feed-forward
            layers and the output of the final norm as well (T5).
        layer_norm_epsilon: Number above 0 added to the mean square in RMSNorm (Mesh TensorFlow: 1e-6).
        initializer_factor: Factor above 0 on the standard deviation of all initial weights.
        feed_forward_proj: "relu" (T5) or "gated-gelu" (version 1.1; GELU by its tanh formula).
        tie_word_embeddings: Whether the output layer shares its weight with the embedding (T5) or has its own (version
            1.1).
        scale_decoder_outputs: Whether the decoder's output is multiplied by `d_model**-0.5` before the output layer, as
            in Mesh TensorFlow if the weight is shared; if null, the value of `tie_word_embeddings`.
        pad_token_id: Token id of padding (0 in the published vocabulary).
        eos_token_id: Token id that ends each sequence (1 in the published vocabulary).
        decoder_start_token_id: Token id that starts each target (T5 has no separate token for it and uses padding).

    Raises:
        ValueError: A field is invalid; the message names it and says what is allowed.
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    dropout_places: DropoutPlaces = "all"
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: FeedForwardProj = "relu"
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool | None = None
    pad_token_id: int = 0
    eos_token_id: int = 1
    decoder_start_token_id: int = 0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"):
            check_positive_int(name, getattr(self, name))
        if self.num_decoder_layers is not None:
            check_positive_int("num_decoder_layers", self.num_decoder_layers)
        check_fraction("dropout_rate", self.dropout_rate)
        check_choice("dropout_places", self.dropout_places, get_args(DropoutPlaces))
        check_positive("layer_norm_epsilon", self.layer_norm_epsilon)
        check_positive("initializer_factor", self.initializer_factor)
        check_choice("feed_forward_proj", self.feed_forward_proj, get_args(FeedForwardProj))
        check_choice("tie_word_embeddings", self.tie_word_embeddings, (True, False))
        check_choice("scale_decoder_outputs", self.scale_decoder_outputs, (True, False, None))
        self._check_buckets()
        for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
            token = getattr(self, name)
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.vocab_size:
                raise ValueError(f"{name} must be a token id from 0 to {self.vocab_size - 1}, got {token!r}")

    def _check_buckets(self) -> None:
        buckets = check_positive_int("relative_attention_num_buckets", self.relative_attention_num_buckets)
        distance = check_positive_int("relative_attention_max_distance", self.relative_attention_max_distance)
        if buckets < 4:
            raise ValueError(f"relative_attention_num_buckets must be at least 4, got {buckets}")
        if distance <= buckets // 2:
            raise ValueError(
                f"relative_attention_max_distance must be above {buckets // 2}, half of "
                f"relative_attention_num_buckets ({buckets}), got {distance}"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "T5Config":
        """Return the config of a named size, with `changes` to its fields.

        Args:
            name: A key of `PRESETS`, such as "t5-small" or "flan-t5-base".
            **changes: Fields to override, such as `dropout_rate=0.2`.

        Raises:
            ValueError: There is no such preset, or a field is invalid.
        """
        check_choice("name", name, PRESETS)
        return cls(**PRESETS[name] | changes)

    @property
    def inner_dropout_rate(self) -> float:
        """Dropout probability of attention weights, inside the feed-forward layers and after the final norm."""
        return self.dropout_rate if self.dropout_places == "all" else 0.0

    @property
    def decoder_depth(self) -> int:
        """Number of decoder blocks."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    @property
    def scales_decoder_outputs(self) -> bool:
        """Whether the decoder's output is multiplied by `d_model**-0.5` before the output layer."""
        return self.tie_word_embeddings if self.scale_decoder_outputs is None else self.scale_decoder_outputs
