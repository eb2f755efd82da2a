"""Generator of docs/diagrams/: an outline of each network, with shapes, parameters and multiply-adds.

    python -m scripts.diagrams [FOLDER]

All figures are read from the code, and shortcuts from what it computes: sums of two tensors of the shape of a part's
output. CNNs are drawn for one image of 32x32 pixels, T5 for a source and a target of 32 tokens, and the character LSTM
for 64 characters.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from architectures.char_rnn import CharRNN, RecurrentLayer
from architectures.custom_cnn import CustomCNN
from architectures.mobilenet_v1 import MobileNetV1
from architectures.mobilenet_v2 import MobileNetV2
from architectures.mobinet import MobiNet
from architectures.resnet import ResNet
from architectures.t5.attention import RelativePositionBias
from architectures.t5.config import T5Config
from architectures.t5.model import T5

SHORTCUT = "downsample"
"""Name of the branch beside the layers of a block, as in torchvision."""


class Row(NamedTuple):
    """One part of a network, or several identical parts in succession."""

    name: str
    kind: str
    content: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    repeats: int = 1


class Outline(NamedTuple):
    """Content of a drawing: its title, the network's input, and the parts in the order in which data passes them."""

    title: str
    inputs: str
    rows: list[Row]


# --- reading a network ---------------------------------------------------------------------------------------------


def parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts to draw with their names: the children, with plain containers and T5's stacks opened."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if type(child) in (nn.Sequential, nn.ModuleList) or type(child).__name__ == "Stack":
            yield from parts(child, f"{path}.")
        elif not isinstance(child, nn.Dropout | nn.Identity):
            yield path, child


def content(module: nn.Module, shortcuts: int = 0) -> str:
    """Return the layers with weights inside a part, in order, without norms: "3x3 conv 16, linear 16 to 10".

    Args:
        module: The part.
        shortcuts: Number of sums in it with what came before.
    """
    branch = getattr(module, SHORTCUT, None)
    beside = {id(leaf) for leaf in branch.modules()} if isinstance(branch, nn.Module) else set()
    leaves = [text for leaf in module.modules() if id(leaf) not in beside and (text := layer(leaf))]
    grouped = [(text, len(list(group))) for text, group in groupby(leaves)]
    pieces = [f"{count} x {text}" if count > 1 else text for text, count in grouped]
    if isinstance(module, RelativePositionBias):
        pieces.append("added to the scores of self-attention in every block")
    if shortcuts > 1:
        pieces.append(f"{shortcuts} shortcuts")
    elif shortcuts == 1:
        pieces.append(f"shortcut{_by(branch)}")
    return ", ".join(pieces)


def _by(branch: object) -> str:
    """Return what a shortcut passes through, such as ` by 1x1 conv 128 /2`; empty if that is nothing."""
    if not isinstance(branch, nn.Module) or isinstance(branch, nn.Identity):
        return ""
    layers = [text for leaf in branch.modules() if (text := layer(leaf))]
    return f" by {' and '.join(layers) or type(branch).__name__}"


def layer(module: nn.Module) -> str:
    """Describe a layer in a few words; return "" for norms and for modules without weights of their own."""
    if isinstance(module, nn.Conv2d):
        kernel, stride = module.kernel_size[0], module.stride[0]
        depthwise = module.groups == module.in_channels > 1
        kind = "depthwise" if depthwise else "conv" if module.groups == 1 else f"conv in {module.groups} groups"
        return f"{kernel}x{kernel} {kind} {module.out_channels}" + (f" /{stride}" if stride > 1 else "") + bias(module)
    if isinstance(module, nn.Linear):
        return f"linear {module.in_features} to {module.out_features}{bias(module)}"
    if isinstance(module, RecurrentLayer):
        return f"{module.gates} gates of {module.hidden_size}{bias(module)}"
    if isinstance(module, nn.Embedding):
        return f"{module.num_embeddings} rows of {module.embedding_dim}"
    return ""


def bias(module: nn.Module) -> str:
    """Return ` + bias` for a layer that has one."""
    return " + bias" if isinstance(module.bias, Tensor) else ""


class Sums(TorchDispatchMode):
    """Counter of the sums of two tensors of one shape, by that shape, since the last `clear`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[tuple[int, ...]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor):
            first, second = args[:2]
            if isinstance(second, Tensor) and first.shape == second.shape:
                self.counts[tuple(first.shape)] += 1
        return func(*args, **(kwargs or {}))


def outline(title: str, inputs: str, network: nn.Module, arguments: Sequence[Tensor], result: str = "") -> Outline:
    """Run the network once and record the output shape and cost of each part.

    Args:
        title: Title of the drawing.
        inputs: Description of the input.
        network: Any network of `architectures/`.
        arguments: Arguments of its `forward`.
        result: Name of what `forward` computes after the last part, such as T5's logits; "" if nothing.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    shortcuts: dict[str, int] = {}
    sums = Sums()
    chosen = list(parts(network))

    def begin(module: nn.Module, given: Any) -> None:
        sums.counts.clear()

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, put_out: Any) -> None:
            first = put_out[0] if isinstance(put_out, tuple) else put_out
            shapes.setdefault(name, tuple(first.shape))
            shortcuts.setdefault(name, sums.counts[tuple(first.shape)])

        return hook

    handles = [part.register_forward_pre_hook(begin) for _, part in chosen]
    handles += [part.register_forward_hook(note(name)) for name, part in chosen]
    network.eval()
    # The math backend computes attention as two matrix products, which the counter can count.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, sums:
        output = network(*arguments)
    for handle in handles:
        handle.remove()

    costs = counter.get_flop_counts()
    rows = [
        Row(
            name,
            type(part).__name__,
            content(part, shortcuts[name]),
            shapes[name],
            sum(parameter.numel() for parameter in part.parameters()),
            sum(costs.get(f"{type(network).__name__}.{name}", {}).values()) // 2,
        )
        for name, part in chosen
        if name in shapes
    ]
    rest = counter.get_total_flops() // 2 - sum(row.multiply_adds for row in rows)
    if result:
        rows.append(Row(result, "", "", tuple(output.shape), 0, rest))
    return Outline(title, inputs, rows)


def folded(rows: list[Row]) -> list[Row]:
    """Merge identical successive parts into one row of their sums, and norms and the like into the row before."""
    merged = []
    for _, group in groupby(rows, lambda row: row[1:]):
        alike = list(group)
        last = f" to {alike[-1].name.rsplit('.', 1)[-1]}" if len(alike) > 1 else ""
        parameters, cost = (sum(column) for column in zip(*(row[4:6] for row in alike), strict=True))
        name = alike[0].name + last
        merged.append(alike[0]._replace(name=name, parameters=parameters, multiply_adds=cost, repeats=len(alike)))
    joined: list[Row] = []
    for row in merged:
        if joined and not row.multiply_adds and row.shape == joined[-1].shape:
            joined[-1] = joined[-1]._replace(parameters=joined[-1].parameters + row.parameters)
        else:
            joined.append(row)
    return joined


# --- drawing -------------------------------------------------------------------------------------------------------

WIDTH, MARGIN, GAP, LINE = 900, 20, 14, 17
COLUMNS = (36, 560, 690, 790)  # left edge of the text; right edges of shape, parameters, multiply-adds
BAR = (800, 64)  # the bar that shows the share of multiply-adds: left edge, maximum length
COLOURS = {
    "linear": "#fde7c8",
    "depthwise": "#dff3e0",
    "conv": "#d8e8f8",
    "rows": "#eee4f6",
    "gates": "#f8dfe4",
    "": "#f2f2f2",
}


def svg(drawn: Outline) -> str:
    """Return the drawing as SVG, from the input at the top to the output at the bottom."""
    rows = folded(drawn.rows)
    parameters = sum(row.parameters for row in rows)
    cost = sum(row.multiply_adds for row in rows)
    y, body = 66, []
    body.append(text(MARGIN, 28, drawn.title, size=18, weight="bold"))
    body.append(text(MARGIN, 48, f"{drawn.inputs}; {parameters:,} parameters, {cost:,} multiply-adds", size=13))
    for place, title in zip(COLUMNS[1:], ("output", "parameters", "multiply-adds"), strict=True):
        body.append(text(place, y + 8, title, size=11, anchor="end", colour="#666"))
    y += 14
    for number, row in enumerate(rows):
        lines = wrapped(row.content, 110)
        height = LINE * (1 + len(lines)) + 10
        colour = next(shade for word, shade in COLOURS.items() if word in row.content)
        box = f'x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="6"'
        body.append(f'<rect {box} fill="{colour}" stroke="#999"/>')
        times = f"{row.repeats} x " if row.repeats > 1 else ""
        body.append(text(COLUMNS[0], y + LINE, f"{row.name}   {times}{row.kind}", size=13, weight="bold"))
        body += [text(COLUMNS[0], y + LINE * (k + 2), line, size=12) for k, line in enumerate(lines)]
        cells = " x ".join(str(size) for size in row.shape if size > 1), short(row.parameters), short(row.multiply_adds)
        for place, cell in zip(COLUMNS[1:], cells, strict=True):
            body.append(text(place, y + LINE, cell, size=13, anchor="end"))
        share = BAR[1] * row.multiply_adds / max(1, cost)
        body.append(f'<rect x="{BAR[0]}" y="{y + 7}" width="{share:.1f}" height="11" fill="#4477aa"/>')
        y += height
        if number + 1 < len(rows):
            middle = WIDTH // 2
            body.append(f'<path d="M{middle} {y} v{GAP - 4} m-4 0 l4 4 l4 -4 z" stroke="#666" fill="#666"/>')
            y += GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + MARGIN}" width="{WIDTH}">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>\n"])


def text(x: float, y: float, words: str, size: int, anchor: str = "start", weight: str = "", colour: str = "") -> str:
    """Return a line of text as SVG; with `anchor` "end", x is its right edge."""
    style = f'font-family="sans-serif" font-size="{size}" text-anchor="{anchor}"'
    style += f' font-weight="{weight}"' if weight else ""
    style += f' fill="{colour}"' if colour else ""
    return f'<text x="{x}" y="{y}" {style} xml:space="preserve">{escape(words)}</text>'


def wrapped(words: str, width: int) -> list[str]:
    """Break `words` after commas into lines of at most `width` characters, or one longer item."""
    lines: list[str] = []
    for piece in words.split(", ") if words else []:
        if lines and len(lines[-1]) + len(piece) + 2 <= width:
            lines[-1] += f", {piece}"
        else:
            lines.append(piece)
    return lines


def short(number: int) -> str:
    """Format a number as 1,234, 1.23 M or 1.23 G."""
    if number < 100_000:
        return f"{number:,}"
    return f"{number / 1e6:.2f} M" if number < 1e9 else f"{number / 1e9:.2f} G"


# --- what is drawn -------------------------------------------------------------------------------------------------


def cnn_outline(title: str, network: nn.Module) -> Outline:
    """Return the outline of a CNN for one image of 32x32 pixels."""
    return outline(title, "one image, 3 x 32 x 32", network, [torch.zeros(1, 3, 32, 32)])


def t5_outlines(size: str) -> dict[str, Outline]:
    """Return the outlines of a T5's encoder and decoder, for 32 tokens each, by file name."""
    tokens = torch.ones(1, 32, dtype=torch.int64)
    whole = outline(size, "", T5(T5Config.preset(size)), [tokens, tokens.bool(), tokens], "logits")
    embedding = whole.rows[0]
    encoder = [embedding, *(row for row in whole.rows if row.name.startswith("encoder."))]
    rest = [row for row in whole.rows[1:] if not row.name.startswith("encoder.")]
    decoder = [embedding._replace(name="embedding (the encoder's)", parameters=0), *rest]
    return {
        f"{size}_encoder": Outline(f"{size}, encoder", "a source of 32 tokens", encoder),
        f"{size}_decoder": Outline(f"{size}, decoder", "a target and a source of 32 tokens each", decoder),
    }


def outlines() -> dict[str, Outline]:
    """Return every outline by the name of its file."""
    characters = [torch.zeros(1, 64, dtype=torch.int64)]
    return {
        "custom_cnn": cnn_outline("CustomCNN", CustomCNN()),
        "resnet20": cnn_outline("ResNet-20", ResNet(20)),
        "resnet18": cnn_outline("ResNet-18, CIFAR stem", ResNet(18)),
        "resnet50": cnn_outline("ResNet-50, CIFAR stem", ResNet(50)),
        "mobilenet_v1": cnn_outline("MobileNetV1", MobileNetV1()),
        "mobilenet_v2": cnn_outline("MobileNetV2", MobileNetV2()),
        "mobinet": cnn_outline("MobiNet", MobiNet()),
        "char_rnn": outline("CharRNN", "64 characters", CharRNN(512, hidden_size=320), characters),
        **t5_outlines("t5-small"),
    }


def main(folder: Path) -> None:
    """Write every drawing, and a README.md that shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = outlines()
    for name, drawn in drawings.items():
        (folder / f"{name}.svg").write_text(svg(drawn), encoding="utf-8")
    shown = "\n\n".join(f"![{drawn.title}]({name}.svg)" for name, drawn in drawings.items())
    note = "Generated by `python -m scripts.diagrams`. Shapes omit the batch; bars show shares of the multiply-adds.\n"
    note += "A shortcut adds the input of a block, or of a layer within a block of T5, to its output."
    (folder / "README.md").write_text(f"# The networks\n\n{note}\n\n{shown}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/diagrams"))
