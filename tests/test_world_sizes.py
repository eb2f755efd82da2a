"""Evaluation by one, two and three processes: the same figures to the last digit, and the same files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from architectures.char_rnn import CharRNN
from architectures.custom_cnn import CustomCNN
from architectures.t5.config import T5Config
from architectures.t5.model import T5
from callbacks.plots.attention_maps import AttentionMaps
from callbacks.plots.confident_mistakes import ConfidentMistakes
from callbacks.plots.confusion_matrix import ConfusionMatrix
from callbacks.predictions.image_predictions import Predictions
from callbacks.predictions.text_outputs import TextOutputs
from callbacks.predictions.text_predictions import TextPredictions
from callbacks.run.test_metrics import TestMetrics
from datamodules.char_text import CharTextDataModule
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.text_seq2seq import TextSeq2Seq
from tests.datamodules.text.counting import TOKENIZER, Counting, make_data

WORLD_SIZES = (1, 2, 3)
ENOUGH = 3
"""Examples below which two processes are left out: three show as well that some process has none."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The number of threads shows in the last digits of a product of matrices, and must be the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Figures(Callback):
    """Writes all figures of an evaluation, to the last digit, into a file per process."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, "test")

    def _write(self, trainer: Trainer, stage: str) -> None:
        figures = {name: float(value).hex() for name, value in trainer.callback_metrics.items()}
        path = Path(trainer.default_root_dir) / f"{stage}-figures-{trainer.global_rank}.json"
        path.write_text(json.dumps(figures, indent=1, sort_keys=True))


def evaluate(
    folder: Path, world_size: int, model: LightningModule, data: LightningDataModule, *callbacks: Callback
) -> dict[str, bytes]:
    """Validate, test and predict with processes forked off this one, and return the files by name."""
    trainer = Trainer(
        accelerator="cpu",
        devices=world_size,
        strategy="ddp_fork" if world_size > 1 else "auto",
        default_root_dir=folder,
        callbacks=[Figures(), *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.validate(model, data, verbose=False)
    trainer.test(model, data, verbose=False)
    trainer.predict(model, data, return_predictions=False)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def compare_world_sizes(folder: Path, count: int, parts: Callable[[], list[Any]], files: set[str]) -> dict[str, bytes]:
    """Check that each world size writes the same `files`, and every process the same figures; return the files."""
    alone: dict[str, bytes] = {}
    for world_size in WORLD_SIZES if count >= ENOUGH else (1, ENOUGH):
        run = folder / str(world_size) / "run"  # the summary has the name
        run.mkdir(parents=True)
        model, data, *callbacks = parts()
        found = evaluate(run, world_size, model, data, *callbacks)
        alone = alone or found
        figures = {f"{stage}-figures-{rank}.json" for stage in ("validation", "test") for rank in range(world_size)}
        assert found.keys() == files | figures
        for name in files:
            assert found[name] == alone[name], (name, world_size)
        for name in figures:
            assert found[name] == alone[f"{name.partition('-')[0]}-figures-0.json"], (name, world_size)
    return alone


# --- images --------------------------------------------------------------------------------------------------------


class Pictures(ImageDataModule):
    """Random images, of which every fifth equals the one before: equally confident errors."""

    def __init__(self, count: int) -> None:
        super().__init__(eval_batch_size=4)
        self.count = count
        self.class_names = [f"class {number}" for number in range(10)]
        self.mean = self.std = (0.5, 0.5, 0.5)

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        return self.load_test(), self.load_test()

    def load_test(self) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        images[4::5] = images[3::5][: len(images[4::5])]
        return ImageSet(images, torch.randint(0, 10, (self.count,), generator=generator))


@pytest.mark.parametrize("count", [14, 1], ids=["unequal shares", "fewer than processes"])
def test_12862_images_have_the_same_figures_and_files(tmp_path: Path, count: int) -> None:
    def parts() -> list[Any]:
        torch.manual_seed(0)
        network = CustomCNN(10, widths=[16, 32], convolutions_per_stage=2)
        return [
            ImageClassifier(network),
            Pictures(count),
            TestMetrics(),
            ConfusionMatrix(),
            ConfidentMistakes(),
            Predictions(),
        ]

    files = {"test_metrics.json", "summary.md", "confusion_matrix.png", "mistakes.png", "predictions.csv"}
    files |= {"confusion_matrix.json", "mistakes.json"}
    found = compare_world_sizes(tmp_path, count, parts, files)
    assert json.loads(found["test_metrics.json"])["examples"] == count
    rows = found["predictions.csv"].decode().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == [str(number) for number in range(count)]


# --- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [23, 2], ids=["unequal shares", "fewer than processes"])
def test_5257_texts_have_the_same_figures_and_files(tmp_path: Path, count: int) -> None:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))

    def parts() -> list[Any]:
        torch.manual_seed(0)
        shape: dict[str, Any] = {
            "d_model": 16,
            "d_kv": 4,
            "d_ff": 32,
            "num_layers": 1,
            "num_heads": 4,
            "tie_word_embeddings": False,
        }
        network = T5(T5Config(vocab_size=TOKENIZER.get_vocab_size(), **shape))
        model = TextSeq2Seq(network, scores=("exact_match", "bleu", "chrf", "rouge"), max_length=8, num_beams=2)
        data = make_data(Counting(count, references=2), str(tmp_path / "tokenizer.json"))
        return [model, data, TestMetrics(), TextOutputs(), TextPredictions(), AttentionMaps()]

    files = {"test_metrics.json", "summary.md", "predictions.txt", "attention.png"}
    files |= {"attention.json", "test_hypotheses.txt", "test_references.txt", "test_outputs.jsonl"}
    found = compare_world_sizes(tmp_path, count, parts, files)
    assert json.loads(found["test_metrics.json"])["examples"] == count
    assert len(set(found["predictions.txt"].splitlines())) > 1
    assert len(found["predictions.txt"].splitlines()) == count
    outputs = [json.loads(line) for line in found["test_outputs.jsonl"].splitlines()]
    assert [output["index"] for output in outputs] == list(range(count))


@pytest.mark.parametrize("prompts", [5, 2])
def test_17521_characters_have_the_same_figures_and_files(tmp_path: Path, prompts: int) -> None:
    text = "the cat sat on the mat.\nthat hat is the cat's hat!\n" * 12
    (tmp_path / "text.txt").write_text(text)
    (tmp_path / "prompts.txt").write_text("".join(f"{text[place : place + 5]}\n" for place in range(prompts)))

    def parts() -> list[Any]:
        torch.manual_seed(0)
        network = CharRNN(30, cell="lstm", hidden_size=8, num_layers=2)
        data = CharTextDataModule(
            str(tmp_path / "text.txt"),
            sequence_length=10,
            eval_batch_size=4,
            predict_path=str(tmp_path / "prompts.txt"),
        )
        return [CharLanguageModel(network, sample_length=9), data, TestMetrics(), TextPredictions()]

    found = compare_world_sizes(tmp_path, prompts, parts, {"test_metrics.json", "summary.md", "predictions.txt"})
    assert [line[:5].decode() for line in found["predictions.txt"].splitlines()] == [
        text[place : place + 5] for place in range(prompts)
    ]
