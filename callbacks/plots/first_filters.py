"""filters.png: the filters of the first convolution."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from callbacks.plots.evaluation_plot import write_data
from utils.contracts import ClassifiesImages, network_of
from utils.distributed import has_whole_weights
from utils.files import atomic_path

MAX_TILES = 256
COLUMNS = 16  # of filters that are one tile each
TILE, GAP = 40, 2  # pixels
BETWEEN = 210  # a grey that is neither that of 0, nor black, nor white


class FirstFilters(Callback):
    """Filters of a classifier's first convolution, drawn into `filters.png` in the run folder at the end of a test.

    Filters of three channels are shown in colour; otherwise, each row is a filter and each tile one of its channels.
    `filters.json` tells the report what is shown. Nothing is drawn if each process has only part of the weights.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the filters."""
        if not trainer.is_global_zero or not isinstance(pl_module, ClassifiesImages) or not has_whole_weights(trainer):
            return
        folder = Path(trainer.default_root_dir)
        found = first_convolution(network_of(pl_module))
        if found is None:
            write_data(folder / "filters.json", "test", {"layer": None})
            return
        from PIL import Image

        name, weight = found
        picture, shown = mosaic(weight)
        with atomic_path(folder / "filters.png") as path:
            Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(path, "PNG")
        filters, channels, height, width = weight.shape
        sizes = {"filters": filters, "shown": shown, "channels": channels, "height": height, "width": width}
        write_data(folder / "filters.json", "test", {"layer": name, **sizes})


def first_convolution(network: nn.Module) -> tuple[str, Tensor] | None:
    """Return dotted name and filters, [filters, channels, height, width], of the first convolution defined, if any."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module.weight.detach().float().cpu()
    return None


def mosaic(weight: Tensor) -> tuple[Tensor, int]:
    """Return a picture of filters, uint8 [3, H, W], and how many of them it shows.

    Each filter has its own scale, on which grey is 0.

    Args:
        weight: [filters, channels, height, width].
    """
    from torchvision.utils import make_grid

    channels, height, width = weight.shape[1:]
    tiles_each = 1 if channels == 3 else channels
    shown = weight[: max(1, MAX_TILES // tiles_each)]
    tiles = shown / shown.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    if channels != 3:
        tiles = tiles.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
    scale = max(1, TILE // max(height, width))
    pixels = ((tiles + 1) * 127.5).round().byte().repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    columns = COLUMNS if tiles_each == 1 else channels
    grid: Tensor = make_grid(pixels, nrow=columns, padding=GAP, pad_value=BETWEEN)
    return grid, len(shown)
