"""attention.png: from which source tokens the model reads as it writes each token."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.plots.newest_plot import NewestPlot, validation_title
from callbacks.text_lines import shorten, visible
from utils.batches import Seq2SeqBatch
from utils.contracts import GeneratesText, UsesTokenizer, network_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SOURCE, MOST_WRITTEN = 48, 32  # tokens in one panel
MOST_LAYERS = 6  # panels of one example
MOST_EXAMPLES = 8
CANDIDATES = 64  # examples among which those that fit a panel are looked for

CELL, COLUMNS = 0.2, 3  # inches a token, panels side by side
LEFT, RIGHT, TOP, BETWEEN, HEAD = 1.35, 0.2, 0.45, 0.3, 0.55  # inches; HEAD above each example


class AttentionWeights(Protocol):
    """Attention weights of a network; `cross` has one tensor [B, H, T, S] for each decoder layer."""

    @property
    def cross(self) -> Sequence[Tensor]:
        """Cross-attention."""
        ...


@runtime_checkable
class ShowsAttention(Protocol):
    """A network that returns its attention weights, as `architectures.t5.model.T5` does."""

    def attention_weights(
        self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor
    ) -> AttentionWeights:
        """Return the attention weights of sources [B, S] and decoder inputs [B, T]."""
        ...

    def shift_right(self, labels: Tensor) -> Tensor:
        """Return the decoder inputs for labels [B, T]."""
        ...


class AttentionMap(NamedTuple):
    """The cross-attention of one example, heads averaged.

    Attributes:
        index: Its place in the data.
        source: Tokens that are read; its first dimension.
        written: Tokens that are written, the end of the sequence included.
        layers: Weights [written, source] of the layers shown, by the layer's number from 1; each row sums to 1.
        depth: Layers there are.
    """

    index: int  # type: ignore[assignment]  # hides a method of tuples
    source: list[str]
    written: list[str]
    layers: dict[int, Tensor]
    depth: int


class AttentionMaps(NewestPlot):
    """Draws cross-attention, heads averaged, a panel for each layer, of a few examples of a validation or a test.

    The examples are the first ones, those before others that fit a panel whole; of longer ones the first 48 source
    tokens and the first 32 written ones are shown. Deeper decoders show six layers, evenly chosen. See `NewestPlot` for
    when it draws.

    Batches must have `input_ids`, `attention_mask` [B, S] and `index` [B]; the module `generated` (each with `index`
    and `hypothesis`; its steps add to it, in any order), a `tokenizer` (of the `tokenizers` library) and an
    `architecture` with `shift_right` and `attention_weights`. Where one of them is missing, nothing is drawn.

    Args:
        count: Examples drawn, at most 8.
        every_n_seconds: The least time between two drawings during a fit.
    """

    file_name = "attention.png"

    def __init__(self, count: int = 2, every_n_seconds: float = 60.0) -> None:
        super().__init__(every_n_seconds)
        if not 1 <= count <= MOST_EXAMPLES:
            raise ValueError(f"count must be from 1 to {MOST_EXAMPLES}, got {count}")
        self.count = count
        self._sources: dict[int, Tensor] = {}

    # --- what is read, batch by batch ----------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sources = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sources = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking:
            return
        self._keep_sources(trainer, batch)
        # Not at the end of the validation: averaged weights, where there are any, are taken out before that
        if batch_idx + 1 == trainer.num_val_batches[dataloader_idx]:
            self._newest = (self._maps(pl_module), validation_title(trainer))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._keep_sources(trainer, batch)
        if batch_idx + 1 == trainer.num_test_batches[dataloader_idx]:
            self._newest = (self._maps(pl_module), "test")

    def _keep_sources(self, trainer: Trainer, batch: Any) -> None:
        """Keep the tokens of the examples that come first in the data, among those of this process."""
        if not trainer.is_global_zero or not isinstance(batch, Seq2SeqBatch):
            return
        rows = zip(batch.index.tolist(), batch.input_ids.cpu(), batch.attention_mask.cpu(), strict=True)
        self._sources.update((index, tokens[mask.bool()]) for index, tokens, mask in rows)
        self._sources = {index: self._sources[index] for index in sorted(self._sources)[:CANDIDATES]}

    # --- what is drawn, and when ---------------------------------------------------------------------------------

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._draw_validation(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    def _maps(self, pl_module: LightningModule) -> list[AttentionMap] | None:
        """The maps to draw; None where there is nothing to draw them of."""
        if not isinstance(pl_module, UsesTokenizer) or not isinstance(pl_module, GeneratesText):
            return None
        tokenizer, network = pl_module.tokenizer, network_of(pl_module)
        if tokenizer is None or not isinstance(network, ShowsAttention):
            return None
        examples = [
            (text.index, self._sources[text.index], tokenizer.encode(text.hypothesis).ids)
            for text in pl_module.generated
            if text.index in self._sources
        ]
        examples.sort(key=lambda example: (_excess(example[1], example[2]), example[0]))
        return [attention_map(network, tokenizer, *example) for example in examples[: self.count]] or None

    def figure(self, collected: list[AttentionMap], class_names: Sequence[str] | None, title: str) -> "Figure":
        return draw(collected, title)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks shows as boxes
            super()._draw(trainer, pl_module)


def _excess(source: Tensor, written: list[int]) -> int:
    """Tokens that do not fit a panel."""
    return max(0, len(source) - MOST_SOURCE) + max(0, len(written) - MOST_WRITTEN)


def attention_map(network: Any, tokenizer: Any, index: int, source: Tensor, written: list[int]) -> AttentionMap:
    """What the network reads of `source` as it writes `written`.

    Args:
        network: With `attention_weights` and `shift_right`, as `architectures.t5.model.T5` has them.
        tokenizer: With `id_to_token`.
        index: The example's place in the data.
        source: Its tokens, integers [S], no padding.
        written: Tokens of the target, the end of the sequence included.
    """
    device = next(network.parameters()).device
    input_ids, labels = source[None].to(device), torch.tensor([written], device=device)
    mask = torch.ones_like(input_ids, dtype=torch.bool)
    cross = network.attention_weights(input_ids, mask, network.shift_right(labels)).cross  # [1, H, T, S] a layer
    shown = evenly(len(cross), MOST_LAYERS)
    return AttentionMap(
        index,
        [_label(tokenizer, token) for token in source.tolist()],
        [_label(tokenizer, token) for token in written],
        {layer + 1: cross[layer][0].float().mean(0).cpu() for layer in shown},
        len(cross),
    )


def evenly(count: int, most: int) -> list[int]:
    """At most `most` (2 at least) of 0 ... count - 1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _label(tokenizer: Any, token: int) -> str:
    """A token as a tick label: the mark of a word's start as an open box, control characters as escapes."""
    text = tokenizer.id_to_token(token)
    return shorten(visible(str(token) if text is None else text).replace("▁", "␣"), 14)


def draw(maps: list[AttentionMap], title: str) -> "Figure":
    """The figure: below one another the examples, each with a panel for each of its layers.

    Args:
        maps: At least one.
        title: What was evaluated.
    """
    from matplotlib.figure import Figure

    # Sizes are reckoned here, in inches: matplotlib's layout engines take seconds over so many labels
    panels = [_panel_size(each) for each in maps]
    grids = [(-(-len(each.layers) // COLUMNS), min(len(each.layers), COLUMNS)) for each in maps]
    heights = [
        HEAD + rows * (panel_height + BETWEEN) + _below(each)
        for each, (rows, _), (_, panel_height) in zip(maps, grids, panels, strict=True)
    ]
    width = max(columns * (size[0] + BETWEEN) for (_, columns), size in zip(grids, panels, strict=True))
    width, height = LEFT + width - BETWEEN + RIGHT, TOP + sum(heights)
    figure = Figure(figsize=(max(width, 6.0), height))
    scale = figure.get_size_inches()
    figure.text(0.15 / scale[0], 1 - 0.12 / scale[1], f"cross-attention, {title}", fontsize=12, va="top")

    top = height - TOP
    for each, (_, columns), (panel_width, panel_height), taken in zip(maps, grids, panels, heights, strict=True):
        figure.text(0.15 / scale[0], (top - 0.05) / scale[1], _heading(each), fontsize=9, va="top")
        for place, layer in enumerate(each.layers):
            row, column = divmod(place, columns)
            left = LEFT + column * (panel_width + BETWEEN)
            bottom = top - HEAD - row * (panel_height + BETWEEN) - panel_height
            box = (left / scale[0], bottom / scale[1], panel_width / scale[0], panel_height / scale[1])
            last = place + columns >= len(each.layers)  # nothing below it
            _draw_panel(figure.add_axes(box), each, layer, names_source=last, names_written=column == 0)
        top -= taken
    return figure


def _panel_size(each: AttentionMap) -> tuple[float, float]:
    """Width and height in inches."""
    return max(CELL * min(len(each.source), MOST_SOURCE), 1.2), max(CELL * min(len(each.written), MOST_WRITTEN), 0.4)


def _below(each: AttentionMap) -> float:
    """Inches for the names of source tokens, which stand upright below the last panels."""
    return 0.25 + 0.085 * max(map(len, each.source[:MOST_SOURCE]))


def _heading(each: AttentionMap) -> str:
    parts = [f"example {each.index}, rows: tokens written, columns: source tokens"]
    if len(each.layers) < each.depth:
        parts.append(f"{len(each.layers)} of {each.depth} layers")
    for name, tokens, most in (("source", each.source, MOST_SOURCE), ("written", each.written, MOST_WRITTEN)):
        if len(tokens) > most:
            parts.append(f"first {most} of {len(tokens)} {name} tokens")
    return "; ".join(parts)


def _draw_panel(axes: Any, each: AttentionMap, layer: int, names_source: bool, names_written: bool) -> None:
    weights = each.layers[layer][:MOST_WRITTEN, :MOST_SOURCE]
    axes.imshow(weights.numpy(), cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    axes.set_title(f"layer {layer}, up to {weights.max():.2f}", fontsize=8, pad=3)
    # A dollar sign is text here, not mathematics
    ticks: dict[str, Any] = {"fontsize": 8, "parse_math": False}
    axes.set_xticks(range(weights.shape[1]), each.source[:MOST_SOURCE] if names_source else [], rotation=90, **ticks)
    axes.set_yticks(range(weights.shape[0]), each.written[:MOST_WRITTEN] if names_written else [], **ticks)
    axes.tick_params(length=2)
