"""Our modules and datamodules keep the protocols that they name, and a broken promise is loud."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn

from architectures.char_rnn import CharRNN
from architectures.custom_cnn import CustomCNN
from architectures.t5.config import T5Config
from architectures.t5.model import T5
from datamodules.char_text import CharTextDataModule
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.digits import DigitsDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.text.toy_tasks import DateTask
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import Constant
from lightning_modules.text_seq2seq import TextSeq2Seq
from tests.lightning_modules.helpers import quiet_trainer
from utils.contracts import (
    ClassifiesImages,
    GeneratesText,
    HasNetwork,
    HasUnit,
    NamesValidationMetrics,
    PredictsImages,
    PredictsLines,
    ProvidesCharacters,
    ProvidesImages,
    ProvidesTokens,
    ProvidesTrainingImages,
    UsesTokenizer,
    UsesVocabulary,
    class_names_of,
    datamodule_of,
    network_of,
)

TRAINING: dict[str, Any] = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "schedule": Constant}


def image_classifier() -> ImageClassifier:
    return ImageClassifier(CustomCNN(num_classes=3, widths=(8, 8, 8)), **TRAINING)


def text_seq2seq() -> TextSeq2Seq:
    shape: dict[str, Any] = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    return TextSeq2Seq(T5(T5Config(**shape)), **TRAINING)


def char_language_model() -> CharLanguageModel:
    return CharLanguageModel(CharRNN(20, hidden_size=8), **TRAINING)


ANY_MODULE = [HasNetwork, HasUnit, NamesValidationMetrics]
PROMISES = [
    *((image_classifier, protocol) for protocol in [*ANY_MODULE, ClassifiesImages]),
    *((text_seq2seq, protocol) for protocol in [*ANY_MODULE, GeneratesText, UsesTokenizer]),
    *((char_language_model, protocol) for protocol in [*ANY_MODULE, GeneratesText, UsesVocabulary]),
    *(
        (datamodule, protocol)
        for datamodule in (DigitsDataModule, CIFAR10DataModule, lambda: ImageFolderDataModule("somewhere"))
        for protocol in (ProvidesImages, PredictsImages, ProvidesTrainingImages)
    ),
    *((lambda: TextSeq2SeqDataModule(task=DateTask()), protocol) for protocol in (ProvidesTokens, PredictsLines)),
    *((CharTextDataModule, protocol) for protocol in (ProvidesCharacters, PredictsLines)),
]


def members(protocol: type) -> set[str]:
    """Return the names of a protocol's attributes, properties and methods."""
    methods = {name for name, value in vars(protocol).items() if isinstance(value, property) or callable(value)}
    return {name for name in {*protocol.__annotations__, *methods} if not name.startswith("_")}


@pytest.mark.parametrize(("make", "protocol"), PROMISES)
def test_ours_have_every_member_of_the_protocols_they_name(make, protocol):
    """`isinstance` alone would not do: it holds for any subclass, whatever its attributes are called."""
    kept, promised = make(), members(protocol)
    assert promised
    for name in promised:
        assert isinstance(getattr(type(kept), name, None), property) or hasattr(kept, name), name


@pytest.mark.parametrize(
    ("make", "protocol"),
    [
        (image_classifier, ClassifiesImages),
        (text_seq2seq, GeneratesText),
        (text_seq2seq, UsesTokenizer),
        (char_language_model, GeneratesText),
        (char_language_model, UsesVocabulary),
        (DigitsDataModule, ProvidesImages),
        (DigitsDataModule, PredictsImages),
        (CharTextDataModule, PredictsLines),
    ],
)
def test_a_renamed_attribute_of_ours_is_not_mistaken_for_a_missing_feature(make, protocol):
    """The object still counts as one that keeps the protocol, so that reading the attribute raises."""
    for name in members(protocol):
        broken = make()
        delattr(broken, name)
        assert isinstance(broken, protocol)
        with pytest.raises(AttributeError, match=name):
            getattr(broken, name)


def test_anything_with_the_attributes_keeps_a_protocol():
    class Theirs(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.class_names = ["cat", "dog"]
            self.input_size = 32

    assert isinstance(Theirs(), ClassifiesImages)
    assert not isinstance(Theirs(), HasUnit)
    assert not isinstance(LightningModule(), ClassifiesImages)


def test_asking_for_a_datamodule_of_images_does_not_load_any():
    class Missing(DigitsDataModule):
        def load_training(self) -> Any:
            raise FileNotFoundError("no training images here")

    assert isinstance(Missing(), ProvidesImages)
    with pytest.raises(FileNotFoundError, match="no training images here"):
        isinstance(Missing(), ProvidesTrainingImages)


# --- what callbacks read -------------------------------------------------------------------------------------------


def test_class_names_and_network_of_any_module():
    ours = image_classifier()
    assert class_names_of(ours) is None  # before training
    ours.class_names = ["a", "b", "c"]
    assert class_names_of(ours) == ["a", "b", "c"]
    assert network_of(ours) is ours.architecture
    theirs = nn.Linear(2, 2)
    assert class_names_of(theirs) is None
    assert network_of(theirs) is theirs


def test_the_network_of_a_module_that_names_no_protocol():
    class Theirs(LightningModule):
        def __init__(self, architecture: Any) -> None:
            super().__init__()
            self.architecture = architecture

    network = nn.Linear(2, 2)
    assert network_of(Theirs(network)) is network
    assert network_of(named := Theirs("resnet")) is named


def test_the_datamodule_of_a_trainer(tmp_path: Path):
    class Nothing(LightningModule):
        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            seen.append(datamodule_of(self.trainer))

    class Data(LightningDataModule):
        def test_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.zeros(1, 1))  # type: ignore[arg-type]

    seen: list[LightningDataModule | None] = []
    with_data, without = (quiet_trainer(tmp_path) for _ in range(2))
    assert datamodule_of(None) is None
    assert datamodule_of(with_data) is None
    with_data.test(Nothing(), datamodule=(data := Data()), verbose=False)
    without.test(Nothing(), dataloaders=data.test_dataloader(), verbose=False)
    assert seen == [data, None]
