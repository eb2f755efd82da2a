"""The fields that shape a T5, under the names of a published `config.json`, and the published sizes.

Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. JMLR 2020.
arXiv:1910.10683 ("the paper" below). Version 1.1 changed the feed-forward layer (Shazeer 2020, arXiv:2002.05202) and
untied the output layer; Chung et al. 2022 (arXiv:2210.11416, FLAN-T5) fine-tuned it on instructions.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from utils.checks import check_choice, check_fraction, check_positive, check_positive_int

FeedForwardProj = Literal["relu", "gated-gelu"]

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
    # Ours, to translate from scratch with some 10^4 sentence pairs.
    "t5-tiny": {"vocab_size": 8000, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 3, "num_heads": 4},
    **{f"t5-{size}": fields for size, fields in _SIZES_1_0.items()},
    **{f"t5-v1_1-{size}": fields | _VERSION_1_1 for size, fields in _SIZES_1_1.items()},
    **{f"flan-t5-{size}": fields | _VERSION_1_1 for size, fields in _SIZES_1_1.items()},
}
"""Fields in which each published size (and our "t5-tiny") differs from the defaults of `T5Config`."""


@dataclass
class T5Config:
    """Shape of a T5; the defaults are those of t5-small.

    Args:
        vocab_size: Rows of the embedding, the padding of the published 32,000 pieces + 100 sentinels included.
        d_model: Width of the residual stream (the paper, section 2.1).
        d_kv: Width of one head's queries, keys and values; `d_kv * num_heads` may differ from `d_model`.
        d_ff: Width inside the feed-forward layer.
        num_layers: Blocks of the encoder.
        num_decoder_layers: Blocks of the decoder; null for as many as the encoder has.
        num_heads: Heads of each attention.
        relative_attention_num_buckets: Learned position offsets a head (section 2.1: 32); at least 4, since the encoder
            gives half of them to either side and half of those to single distances.
        relative_attention_max_distance: Distance from which all share the last bucket (section 2.1: 128).
        dropout_rate: Share dropped of embeddings, attention weights, every layer's output, the feed-forward layer's
            inside and the last norm's output (sections 2.1 and 3.1.2: 0.1).
        layer_norm_epsilon: Added to the mean square in RMSNorm (Mesh TensorFlow's 1e-6).
        initializer_factor: Times the standard deviation of every first weight.
        feed_forward_proj: "relu" (T5) or "gated-gelu" (version 1.1; GELU by tanh).
        tie_word_embeddings: Whether the output layer's weight is the embedding (T5) or its own (version 1.1).
        scale_decoder_outputs: Whether `d_model**-0.5` multiplies the decoder's output ahead of the output layer, as
            Mesh TensorFlow does where the weight is shared; null for the value of `tie_word_embeddings`.
        pad_token_id: Fills up short rows (the published vocabulary's 0).
        eos_token_id: Ends each sequence (its 1).
        decoder_start_token_id: Begins each target (T5 has no token for it and takes padding).

    Raises:
        ValueError: A field is impossible; the message names it and says what is allowed.
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
        check_positive("layer_norm_epsilon", self.layer_norm_epsilon)
        check_positive("initializer_factor", self.initializer_factor)
        check_choice("feed_forward_proj", self.feed_forward_proj, get_args(FeedForwardProj))
        check_choice("tie_word_embeddings", self.tie_word_embeddings, (True, False))
        check_choice("scale_decoder_outputs", self.scale_decoder_outputs, (True, False, None))
        self._check_buckets()
        for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
            token = getattr(self, name)
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.vocab_size:
                raise ValueError(f"{name} must be a token from 0 to {self.vocab_size - 1}, got {token!r}")

    def _check_buckets(self) -> None:
        buckets = check_positive_int("relative_attention_num_buckets", self.relative_attention_num_buckets)
        distance = check_positive_int("relative_attention_max_distance", self.relative_attention_max_distance)
        if buckets < 4:
            raise ValueError(f"relative_attention_num_buckets must be at least 4, got {buckets}")
        if distance <= buckets // 2:
            raise ValueError(
                f"relative_attention_max_distance must be above {buckets // 2}, half of the "
                f"{buckets} buckets, got {distance}"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "T5Config":
        """Return the config of a named size, with `changes` to its fields.

        Args:
            name: A key of `PRESETS`, such as "t5-small" or "flan-t5-base".
            **changes: Fields that differ, such as `dropout_rate=0.2`.

        Raises:
            ValueError: There is no such preset, or a field is impossible.
        """
        check_choice("name", name, PRESETS)
        return cls(**PRESETS[name] | changes)

    @property
    def decoder_depth(self) -> int:
        """Blocks of the decoder."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    @property
    def scales_decoder_outputs(self) -> bool:
        """Whether `d_model**-0.5` multiplies the decoder's output ahead of the output layer."""
        return self.tie_word_embeddings if self.scale_decoder_outputs is None else self.scale_decoder_outputs
