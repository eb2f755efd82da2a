"""attention.png: the source tokens that the model attends to as it generates each token."""

import base64
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from callbacks.plots.evaluation_files import Step
from callbacks.plots.evaluation_plot import EvaluationPlot
from callbacks.text_lines import shorten, visible
from utils.batches import Seq2SeqBatch
from utils.contracts import GeneratesText, UsesTokenizer, network_of
from utils.distributed import gather_list

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from tokenizers import Tokenizer

MAX_SOURCE, MAX_TARGET = 48, 32  # tokens in one panel
MAX_LAYERS = 6  # panels per example
MAX_EXAMPLES = 8
CANDIDATES = 64  # number of examples among which those that fit a panel come first

CELL, COLUMNS = 0.2, 3  # inches per token, panels side by side
LEFT, RIGHT, TOP, BETWEEN, HEAD = 1.35, 0.2, 0.45, 0.3, 0.55  # inches; HEAD above each example


class AttentionWeights(Protocol):
    """Attention weights of a network; `cross` has one tensor [B, H, T, S] per decoder layer."""

    @property
    def cross(self) -> Sequence[Tensor]:
        """Cross-attention."""
        ...


@runtime_checkable
class ShowsAttention(Protocol):
    """A network that returns its attention weights, as `architectures.t5.model.T5` does."""

    def attention_weights(
        self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor, *, cross_only: bool
    ) -> AttentionWeights:
        """Return the attention weights of sources [B, S] and decoder inputs [B, T]: only `cross` if that suffices."""
        ...

    def shift_right(self, labels: Tensor) -> Tensor:
        """Return the decoder inputs for labels [B, T]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters."""
        ...


class AttentionMap(NamedTuple):
    """Cross-attention of one example, averaged over the heads.

    Attributes:
        index: Index of the example in its split.
        source: Tokens of the source.
        target: Tokens of the target, including the end of the sequence.
        layers: Weights [target, source] of the layers shown, by layer number, from 1; each row sums to 1.
        depth: Number of layers in the decoder.
        excess: Number of tokens that do not fit a panel.
    """

    index: int  # type: ignore[assignment]  # hides a method of tuples
    source: list[str]
    target: list[str]
    layers: dict[int, Tensor]
    depth: int
    excess: int


class AttentionMaps(EvaluationPlot[list[AttentionMap]]):
    """Cross-attention of a few examples of a validation or a test, drawn into `attention.png` in the run folder.

    Each layer has a panel, averaged over its heads. The examples are the first ones of the split; those that fit a
    panel come before longer ones, which show their first 48 source tokens and 32 generated tokens. Of a decoder with
    more than six layers, six evenly spaced ones are shown.

    Batches must be `utils.batches.Seq2SeqBatch`, the module must implement `GeneratesText` and `UsesTokenizer`, and its
    network `ShowsAttention`; otherwise nothing is drawn.

    Args:
        count: Number of examples to draw, at most 8.
        every_n_seconds: Minimum time between two drawings during a fit, in seconds; the newest validation is always
            drawn at its end.
    """

    file_name = "attention.png"

    def __init__(self, count: int = 2, every_n_seconds: float = 60.0) -> None:
        super().__init__(every_n_seconds)
        if not 1 <= count <= MAX_EXAMPLES:
            raise ValueError(f"count must be from 1 to {MAX_EXAMPLES}, got {count}")
        self.count = count
        self._sources: dict[int, Tensor] = {}
        self._candidates: list[int] = []
        self._maps: list[AttentionMap] = []

    def reset(self) -> None:
        """Forget sources and maps."""
        self._sources, self._candidates, self._maps = {}, [], []

    def add(self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, step: Step) -> None:
        """Keep the sources that come first in the split; after the last batch, compute their attention."""
        if isinstance(batch, Seq2SeqBatch):
            rows = zip(batch.index.tolist(), batch.input_ids.cpu(), batch.attention_mask.cpu(), strict=True)
            self._sources.update((index, tokens[mask.bool()]) for index, tokens, mask in rows)
            self._sources = {index: self._sources[index] for index in sorted(self._sources)[:CANDIDATES]}
        if step.last:  # not at the end of the epoch: averaged weights, if there are any, are in place only until then
            with trainer.precision_plugin.forward_context():  # whole weights may exist only in bfloat16 (FSDP)
                self._compute_maps(pl_module)

    def _compute_maps(self, pl_module: LightningModule) -> None:
        """Compute the maps of this process's candidates that may be among the first `count` of all processes."""
        if not isinstance(pl_module, UsesTokenizer) or not isinstance(pl_module, GeneratesText):
            return
        tokenizer, network = pl_module.tokenizer, network_of(pl_module)
        if tokenizer is None or not isinstance(network, ShowsAttention):
            return
        texts = {text.index: text.hypothesis for text in pl_module.generated if text.index in self._sources}
        generated = {index: tokenizer.encode(text).ids for index, text in texts.items()}
        self._candidates = sorted(generated)
        excess = {index: _excess(self._sources[index], generated[index]) for index in self._candidates}
        # Of these candidates, the first few are among those of all processes; how many is not known here.
        shown = {
            index
            for number in range(1, len(self._candidates) + 1)
            for index in sorted(self._candidates[:number], key=lambda index: (excess[index], index))[: self.count]
        }
        self._maps = [
            attention_map(network, tokenizer, index, self._sources[index], generated[index]) for index in sorted(shown)
        ]

    def collect(self, trainer: Trainer) -> list[AttentionMap] | None:
        """Return the maps to draw, of all processes; None if there are none."""
        candidates = set(sorted(gather_list(self._candidates))[:CANDIDATES])
        maps = [each for each in gather_list(self._maps) if each.index in candidates]
        maps.sort(key=lambda each: (each.excess, each.index))
        return maps[: self.count] or None

    def figure(self, collected: list[AttentionMap], class_names: Sequence[str] | None, title: str) -> "Figure":
        """Return the figure of the maps."""
        return draw(collected, title)

    def data(self, collected: list[AttentionMap], class_names: Sequence[str] | None) -> dict[str, Any]:
        """Return all tokens and weights of each map; the weights of a layer are bytes [target, source] in base64."""
        return {
            "maps": [
                {
                    "index": each.index,
                    "source": each.source,
                    "target": each.target,
                    "depth": each.depth,
                    "layers": {layer: in_bytes(weights) for layer, weights in each.layers.items()},
                }
                for each in collected
            ]
        }

    def write(self, folder: Path, collected: list[AttentionMap], class_names: Sequence[str] | None, title: str) -> None:
        """Draw the figure, and write what it shows."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks shows as boxes
            super().write(folder, collected, class_names, title)


def _excess(source: Tensor, target: list[int]) -> int:
    """Return the number of tokens that do not fit a panel."""
    return max(0, len(source) - MAX_SOURCE) + max(0, len(target) - MAX_TARGET)


def attention_map(
    network: ShowsAttention, tokenizer: "Tokenizer", index: int, source: Tensor, target: list[int]
) -> AttentionMap:
    """Return the cross-attention of one example.

    Args:
        network: The network.
        tokenizer: Its tokenizer.
        index: Index of the example in its split.
        source: Ids of the source, integers [S], without padding.
        target: Ids of the target, including the end of the sequence.
    """
    device = next(network.parameters()).device
    input_ids, labels = source[None].to(device), torch.tensor([target], device=device)
    mask = torch.ones_like(input_ids, dtype=torch.bool)
    weights = network.attention_weights(input_ids, mask, network.shift_right(labels), cross_only=True)
    cross = weights.cross  # [1, H, T, S] per layer
    shown = evenly_spaced(len(cross), MAX_LAYERS)
    return AttentionMap(
        index,
        [_label(tokenizer, token) for token in source.tolist()],
        [_label(tokenizer, token) for token in target],
        {layer + 1: cross[layer][0].float().mean(0).cpu() for layer in shown},
        len(cross),
        _excess(source, target),
    )


def evenly_spaced(count: int, maximum: int) -> list[int]:
    """Return at most `maximum` (at least 2) of 0 ... count - 1, evenly spaced, including the first and the last."""
    if count <= maximum:
        return list(range(count))
    return [round(place * (count - 1) / (maximum - 1)) for place in range(maximum)]


def _label(tokenizer: "Tokenizer", token: int) -> str:
    """Return a token as a tick label: the mark of a word's start as an open box, control characters as escapes."""
    text = tokenizer.id_to_token(token)
    return shorten(visible(str(token) if text is None else text).replace("▁", "␣"), 14)


def in_bytes(weights: Tensor) -> str:
    """Return weights from 0 to 1, each as a byte, all in base64."""
    return base64.b64encode((weights * 255).round().to(torch.uint8).numpy().tobytes()).decode()


def draw(maps: list[AttentionMap], title: str) -> "Figure":
    """Return the figure of cross-attention: one example below another, each with a panel per layer.

    Args:
        maps: At least one.
        title: What was evaluated.
    """
    from matplotlib.figure import Figure

    # Sizes are computed here, in inches: matplotlib's layout engines take seconds for so many labels
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
            _draw_panel(figure.add_axes(box), each, layer, names_source=last, names_target=column == 0)
        top -= taken
    return figure


def _panel_size(each: AttentionMap) -> tuple[float, float]:
    """Return width and height in inches."""
    return max(CELL * min(len(each.source), MAX_SOURCE), 1.2), max(CELL * min(len(each.target), MAX_TARGET), 0.4)


def _below(each: AttentionMap) -> float:
    """Return the height in inches of the source tokens, which are written upright below the last panels."""
    return 0.25 + 0.085 * max(map(len, each.source[:MAX_SOURCE]))


def _heading(each: AttentionMap) -> str:
    parts = [f"example {each.index}, rows: generated tokens, columns: source tokens"]
    if len(each.layers) < each.depth:
        parts.append(f"{len(each.layers)} of {each.depth} layers")
    for name, tokens, maximum in (("source", each.source, MAX_SOURCE), ("generated", each.target, MAX_TARGET)):
        if len(tokens) > maximum:
            parts.append(f"first {maximum} of {len(tokens)} {name} tokens")
    return "; ".join(parts)


def _draw_panel(axes: "Axes", each: AttentionMap, layer: int, names_source: bool, names_target: bool) -> None:
    weights = each.layers[layer][:MAX_TARGET, :MAX_SOURCE]
    axes.imshow(weights.numpy(), cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    axes.set_title(f"layer {layer}, maximum {weights.max():.2f}", fontsize=8, pad=3)
    # A dollar sign is text here, not mathematics
    ticks: dict[str, Any] = {"fontsize": 8, "parse_math": False}
    axes.set_xticks(range(weights.shape[1]), each.source[:MAX_SOURCE] if names_source else [], rotation=90, **ticks)
    axes.set_yticks(range(weights.shape[0]), each.target[:MAX_TARGET] if names_target else [], **ticks)
    axes.tick_params(length=2)
