"""Pairs of our T5 and transformers' T5 with the same weights, for side-by-side comparison."""

from typing import Any

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import published_name
from architectures.t5.model import T5


def make_theirs(config: T5Config) -> Any:
    """Return transformers' model of the same shape in evaluation mode, with its own initial weights.

    Its output layer is always tied to the embedding, whatever the config says.
    """
    import transformers

    fields = {name: value for name, value in vars(config).items() if name != "scale_decoder_outputs"}
    their_config = transformers.T5Config(**fields)
    their_config.scale_decoder_outputs = config.scales_decoder_outputs
    return transformers.T5ForConditionalGeneration(their_config).eval()


def make_pair_as_theirs_begins(config: T5Config) -> tuple[T5, Any]:
    """Return (ours, theirs) in evaluation mode, both with the initial weights that transformers draws."""
    ours, theirs = T5(config).eval(), make_theirs(config)
    published = theirs.state_dict()
    ours.load_state_dict({name: published[published_name(name)] for name in ours.state_dict()})
    return ours, theirs
