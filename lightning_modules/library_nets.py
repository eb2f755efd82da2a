"""Networks of torchvision and timm, by name, as image classifiers of this program.

They are here because `architectures/` holds networks written by hand, which depend only on torch. A config names
one of these two classes and, as data, a network that the library lists for classification: nothing else is imported or
called, so that the checkpoint of such a network can be opened like any other.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from utils.error_text import text_of

Option = bool | int | float | str
"""What an argument of a library's network may be: a plain value."""

UNWANTED = ("weights", "pretrained", "checkpoint", "cache", "hf_", "progress", "num_classes")
"""Prefixes of arguments that would load weights or repeat another field."""


class LibraryNet(ImageClassifierNet):
    """Base class of networks from a library: normalised images [B, 3, H, W] -> logits [B, num_classes].

    Args:
        name: Name of the network in its library.
        network: The network.
        num_classes: Number of classes.

    Raises:
        ValueError: The network has no last layer with that many outputs.
    """

    def __init__(self, name: str, network: nn.Module, num_classes: int) -> None:
        super().__init__(num_classes)
        self.name = name
        self.network = network
        self._head_names = tuple(f"network.{path}" for path in last_layers(network, num_classes, name))
        self.head = self._head_names[-1]  # type: ignore[misc]  # known only now

    @property
    def head_names(self) -> tuple[str, ...]:
        """Dotted names of all last layers: those of timm's `distilled` networks have two."""
        return self._head_names

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, num_classes] for normalised images, float [B, 3, H, W]."""
        logits: Tensor = self.network(images)
        return logits


class TorchvisionNet(LibraryNet):
    """A network of torchvision for classification, such as `convnext_tiny`, with random weights.

    Published weights are loaded by `model.init_from`: a file, or the address of one.

    Args:
        name: Name in `torchvision.models`.
        num_classes: Number of classes.
        options: Further arguments of the network, such as `{dropout: 0.2}`.

    Raises:
        ValueError: torchvision has no such network, or it is for another task, or an option is invalid.
    """

    def __init__(self, name: str, num_classes: int = 10, options: dict[str, Option] | None = None) -> None:
        from torchvision import models

        if name in models.list_models() and name not in models.list_models(module=models):
            task = models.get_model_builder(name).__module__.split(".")[2]
            raise ValueError(
                f"architecture.name {name} is a network of torchvision.models.{task}, not for classification"
            )
        check_name(name, models.list_models(module=models), "torchvision")
        network = build(models.get_model, name, num_classes, options)
        if getattr(network, "aux_logits", False):
            raise ValueError(
                f"architecture.name {name} returns more than one logit per class in training: pass "
                '--model.architecture.options "{aux_logits: false}"'
            )
        super().__init__(name, network, num_classes)


class TimmNet(LibraryNet):
    """A network of timm, such as `vit_tiny_patch16_224`, with random weights; timm is an extra.

    Published weights are loaded by `model.init_from` from a file.

    Args:
        name: Name in `timm.list_models()`.
        num_classes: Number of classes.
        options: Further arguments of the network, such as `{img_size: 64}`.

    Raises:
        ValueError: timm is not installed or has no such network, or an option is invalid.
    """

    def __init__(self, name: str, num_classes: int = 10, options: dict[str, Option] | None = None) -> None:
        try:
            import timm
        except ImportError as error:
            raise ValueError("TimmNet needs timm: pip install 'one-for-all[timm]'") from error
        check_name(name, timm.list_models(), "timm")
        network = build(timm.create_model, name, num_classes, options)
        super().__init__(name, network, num_classes)


def check_name(name: str, known: Collection[str], library: str) -> None:
    """Raise ValueError if a library has no classifier of this name: it might be an address, or a file."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "its documentation lists them"
        raise ValueError(f"architecture.name {name}: {library} has no such network for classification; {hint}")


def build(make: Any, name: str, num_classes: int, options: Mapping[str, Option] | None) -> nn.Module:
    """Return a network of a library with random weights.

    Raises:
        ValueError: An option is unknown, has an impossible value, or would load weights.
    """
    for option in options or {}:
        if option.startswith(UNWANTED):
            raise ValueError(f"architecture.options.{option} is not accepted: weights are loaded by --model.init_from")
    try:
        network: nn.Module = make(name, num_classes=num_classes, **(options or {}))
    except Exception as error:  # a library's network may raise anything
        reason = text_of(error) or type(error).__name__
        raise ValueError(f"architecture.options {dict(options or {})} do not fit {name}: {reason}") from error
    return network


def last_layers(network: nn.Module, num_classes: int, name: str) -> list[str]:
    """Return the dotted names of the layers with one output per class that give a network's logits.

    They are the last one and, in a network of timm with several, all those in what it calls its classifier.

    Raises:
        ValueError: There is none.
    """
    fitting: list[tuple[str, nn.Module]] = [
        (path, module)
        for path, module in network.named_modules()
        if num_classes in (getattr(module, "out_features", None), getattr(module, "out_channels", None))
    ]
    if not fitting:
        raise ValueError(
            f"architecture.name {name} has no last layer with {num_classes} outputs: choose another network"
        )
    classifier: Any = getattr(network, "get_classifier", tuple)()
    inside = set(nn.ModuleList(classifier if isinstance(classifier, tuple) else [classifier]).modules())
    several = [path for path, module in fitting if module in inside]
    last = fitting[-1][0]
    return several if last in several else [last]
