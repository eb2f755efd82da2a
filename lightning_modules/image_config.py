"""Open config fields of a new image classifier: its number of classes, and whether its weights can be downloaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from lightning_modules.torchvision_weights import weights_file
from utils.downloads import is_address


def complete_image_config(
    config: dict[str, Any], given: Collection[str], class_names: Callable[[], list[str] | None]
) -> dict[str, Any]:
    """Return values for the open fields of an image classifier's config; arguments as `CompletesConfig.complete`.

    - `num_classes` of the network is that of the data.
    - `init_from` is null if its address cannot be reached and `init_offline` is "scratch": the config that the run
      keeps says what it did.
    """
    arguments = config["model"]["init_args"]
    values: dict[str, Any] = {}
    network = arguments["architecture"].get("init_args") or {}
    if "num_classes" in network and "model.architecture.num_classes" not in given:
        names = class_names()
        if names:
            values["model.init_args.architecture.init_args.num_classes"] = len(names)
    source = arguments.get("init_from")
    if source and is_address(source) and weights_file(source, arguments["init_offline"]) is None:
        values["model.init_args.init_from"] = None
    return values
