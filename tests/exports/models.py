"""Untrained models whose outputs depend on all of their weights, with what a training would have told them."""

import dataclasses

import torch

from architectures.base import ImageClassifierNet
from architectures.t5.config import T5Config
from datamodules.text.tokenizer import train_tokenizer
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.text_seq2seq import TextSeq2Seq
from oneforall import ImageModel, TextModel
from tests.architectures.t5.oracle import make_pair

SENTENCES = [
    *("A man is sleeping.", "Zwei Hunde laufen über die Wiese.", "  odd   spaces\tand tabs ", "naïve café 😀 42%"),
    *(
        "<extra_id_0> sentinels <extra_id_1>",
        "two dogs",
        "?!",
        "the the the man dogs sleeping over a bench near flowers",
    ),
]
PREFIX, MAX_SOURCE_LENGTH = "translate English to German: ", 64


def make_classifier(net: ImageClassifierNet, size: int = 32) -> ImageModel:
    """Return a classifier whose batch norms have seen images, and whose probabilities are calibrated."""
    classifier = ImageClassifier(net)
    classifier.input_size, classifier.class_names = size, [f"class {k}" for k in range(net.num_classes)]
    classifier.mean.copy_(torch.tensor([0.49, 0.48, 0.44]))
    classifier.std.copy_(torch.tensor([0.25, 0.24, 0.26]))
    classifier.temperature = 1.5
    with torch.no_grad():
        for seed in range(2):
            classifier.train()(unseen_images(8, size, 10 + seed))
    return ImageModel(classifier.eval(), "model.ckpt")


def unseen_images(number: int, size: int, seed: int) -> torch.Tensor:
    """Return images of large random spots, uint8 [number, 3, size, size]: other ones than the export is compared on."""
    spots = torch.rand(number, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(spots, (size, size), mode="bicubic").clamp(0, 1) * 255).byte()


def make_translator(config: T5Config, **decoding: float) -> TextModel:
    """Return a T5 of that config, but with a vocabulary of 300 tokens, that generates at most 12 tokens."""
    tokenizer = train_tokenizer(SENTENCES * 3, vocab_size=290, num_sentinels=4)
    network, _ = make_pair(dataclasses.replace(config, vocab_size=300))
    module = TextSeq2Seq(network, max_length=12, **decoding)  # type: ignore[arg-type]
    module.tokenizer = tokenizer
    return TextModel(module.eval(), "model.ckpt", [PREFIX], MAX_SOURCE_LENGTH)
