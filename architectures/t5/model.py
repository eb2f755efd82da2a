"""T5, an encoder-decoder for text, compatible with published weights.

Raffel et al. Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer. JMLR 2020.
arXiv:1910.10683

Legend: B batch, S tokens per source, T tokens per target, H heads, M = d_model, V = vocab_size.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.loss import TokenSums, token_loss
from architectures.t5.stack import AttentionRecord, Stack
from utils.batches import IGNORED


class AttentionWeights(NamedTuple):
    """Attention weights in float32, one tensor per block; they sum to 1 over the last dimension.

    Attributes:
        encoder: Self-attention of the encoder, [B, H, S, S] each.
        decoder: Self-attention of the decoder, [B, H, T, T] each.
        cross: Cross-attention, [B, H, T, S] each: how much each target token reads from each source token.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]


class T5(nn.Module):
    """Text-to-text Transformer: a source and the beginning of a target -> logits of each next target token.

    Masks are bool or integer, true or nonzero at real tokens. Padding may be anywhere in a row; a row of only padding
    gives finite values and gradients.

    Args:
        config: Sizes and other fields of the model.
        activation_checkpointing: Whether training recomputes activations in the backward pass: it keeps those of one
            block in memory instead of all, for a third more computation.
    """

    def __init__(self, config: T5Config, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Stack(config, is_decoder=False, activation_checkpointing=activation_checkpointing)
        self.decoder = Stack(config, is_decoder=True, activation_checkpointing=activation_checkpointing)
        nn.init.normal_(self.embedding.weight, std=config.initializer_factor)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
            # Published code uses a standard deviation of 1; an untrained model's loss is then near 110, not log(V).
            nn.init.normal_(self.lm_head.weight, std=config.initializer_factor * config.d_model**-0.5)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits [B, T, V] of the token after each of `decoder_input_ids`.

        Args:
            input_ids: Source, integers [B, S].
            attention_mask: Mask of the source's real tokens, [B, S].
            decoder_input_ids: Target shifted right by one (`shift_right`), integers [B, T].
            decoder_attention_mask: Mask of the target's real tokens, [B, T]; not needed if padding comes last, because
                no token sees a later one.

        Raises:
            ValueError: The shape of a mask differs from that of its tokens, or the computation runs in float16.
        """
        memory_BSM = self.encode(input_ids, attention_mask)
        return self.logits(self.decode(decoder_input_ids, decoder_attention_mask, memory_BSM, attention_mask))

    def loss(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
    ) -> TokenSums:
        """Return the loss of `labels` [B, T], which are the target with -100 for padding; see `token_loss`."""
        memory_BSM = self.encode(input_ids, attention_mask)
        hidden_BTM = self.decode(self.shift_right(labels), None, memory_BSM, attention_mask)
        scaled_NM = self.scale(hidden_BTM).flatten(0, 1)
        return token_loss(scaled_NM, self.output_weight, labels.flatten(), label_smoothing, z_loss)

    def attention_weights(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None = None,
        cross_only: bool = False,
    ) -> AttentionWeights:
        """Return the attention weights of every block, for plots; the first arguments are those of `forward`.

        Dropout is off, regardless of the model's mode, and there are no gradients. With `cross_only`, the lists of
        self-attention are empty: over a long source, its weights would fill the memory.
        """
        encoder, decoder = AttentionRecord(cross_only), AttentionRecord(cross_only)
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                memory_BSM = self.encode(input_ids, attention_mask, encoder)
                self.decode(decoder_input_ids, decoder_attention_mask, memory_BSM, attention_mask, decoder)
        finally:
            self.train(training)
        return AttentionWeights(encoder.self_attention or [], decoder.self_attention or [], decoder.cross_attention)

    def encode(self, input_ids: Tensor, attention_mask: Tensor, record: AttentionRecord | None = None) -> Tensor:
        """Return memory_BSM, the encoder's output for sources [B, S] and their mask [B, S]."""
        _check_mask("attention_mask", attention_mask, input_ids)
        return self.encoder(self.embedding(input_ids), attention_mask, record=record)

    def decode(
        self,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None,
        memory_BSM: Tensor,
        attention_mask: Tensor,
        record: AttentionRecord | None = None,
    ) -> Tensor:
        """Return hidden_BTM, the decoder's output for shifted targets [B, T] and the encoder's output."""
        if decoder_attention_mask is not None:
            _check_mask("decoder_attention_mask", decoder_attention_mask, decoder_input_ids)
        x_BTM = self.embedding(decoder_input_ids)
        return self.decoder(x_BTM, decoder_attention_mask, memory_BSM, attention_mask, record)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits [..., V] for hidden states [..., M]."""
        return F.linear(self.scale(hidden), self.output_weight)

    def scale(self, hidden: Tensor) -> Tensor:
        """Return the output layer's input [..., M]: the hidden states, scaled if the config says so."""
        return hidden * self.config.d_model**-0.5 if self.config.scales_decoder_outputs else hidden

    @property
    def output_weight(self) -> Tensor:
        """Weight of the output layer, [V, M]: that of the embedding if they are tied."""
        return self.embedding.weight if self.config.tie_word_embeddings else self.lm_head.weight

    def shift_right(self, labels: Tensor) -> Tensor:
        """Return the decoder's input for labels [B, T]: start token, then all but the last; -100 becomes padding."""
        shifted = labels.roll(1, dims=-1)
        shifted[:, 0] = self.config.decoder_start_token_id
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)


def _check_mask(name: str, mask: Tensor, tokens: Tensor) -> None:
    if mask.shape != tokens.shape:
        raise ValueError(f"{name} must have the shape of its tokens, {tuple(tokens.shape)}, got {tuple(mask.shape)}")
