"""The config of a T5: its presets, and errors that name the field."""

import pytest
import torch

from architectures.t5.config import PRESETS, T5Config
from architectures.t5.model import T5


@pytest.mark.parametrize(
    ("name", "millions"),
    # The paper, section 3.7 ("60 million, ..."), and the parameter counts of the published files.
    [
        ("t5-small", 60.507),
        ("t5-base", 222.904),
        ("t5-large", 737.668),
        ("t5-3b", 2851.598),
        ("t5-v1_1-small", 76.961),
        ("flan-t5-base", 247.578),
        ("flan-t5-large", 783.150),
        ("t5-v1_1-xl", 2849.757),
    ],
)
def test_presets_have_the_published_parameter_counts(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = T5(T5Config.preset(name))
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6, 3) == millions


def test_every_preset_is_valid() -> None:
    assert {T5Config.preset(name).d_model for name in PRESETS} == {256, 512, 768, 1024, 2048}
    assert T5Config.preset("t5-small") == T5Config()
    assert T5Config.preset("t5-tiny", dropout_rate=0.3).dropout_rate == 0.3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("d_model", 2.0),
        ("num_decoder_layers", 0),
        ("num_heads", True),
        ("dropout_rate", 1.0),
        ("dropout_places", "attention"),
        ("layer_norm_epsilon", 0.0),
        ("feed_forward_proj", "gelu"),
        ("tie_word_embeddings", None),
        ("scale_decoder_outputs", 1),
        ("relative_attention_num_buckets", 3),
        ("relative_attention_max_distance", 16),
        ("eos_token_id", 32128),
    ],
)
def test_errors_name_invalid_fields(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} must .*got {value!r}"):
        T5Config(**{field: value})  # type: ignore[arg-type]


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'t5-small'.*got 't5-huge'"):
        T5Config.preset("t5-huge")
