"""What the text modules have from `LanguageModule`, on the smallest one: it "generates" its sources in capitals."""

from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_modules.language_module import LanguageModule
from lightning_modules.optim.schedules import Constant
from utils.batches import GeneratedText, Hypotheses

Texts = list[tuple[int, str]]
"""Pairs of a place in the data and a text."""


class Data(LightningDataModule):
    """Words in an order other than that of their places."""

    def __init__(self, words: list[str] | None = None, batches: list[Texts] | None = None) -> None:
        super().__init__()
        self.words = words
        self.batches = [[(3, "d"), (1, "b")], [(0, "a"), (2, "c")]] if batches is None else batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


class Shout(LanguageModule):
    """Counts texts and letters; its vocabulary is a list of words."""

    unit = "texts"
    sums = ("letters", "texts")
    state_key = "shout"

    def __init__(self) -> None:
        super().__init__(optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1), schedule=Constant)
        self.architecture = nn.Linear(1, 1)
        self.words: list[str] | None = None

    def has_vocabulary(self) -> bool:
        return self.words is not None

    def take_vocabulary(self) -> None:
        words = self.trainer.datamodule.words  # type: ignore[attr-defined]
        if words is None:
            raise ValueError("there is no vocabulary")
        self.words = words

    def validation_metrics(self) -> list[str]:
        return ["val/letters_per_text", "val/texts", "val/longest", "val/count"]

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        return {"letters_per_text": totals["letters"] / max(1.0, totals["texts"]), "texts": totals["texts"]}

    def score_generated(self) -> dict[str, float]:
        hypotheses = [text.hypothesis for text in self.generated]
        return {"longest": float(max(map(len, hypotheses))), "count": float(len(hypotheses))}

    def training_step(self, batch: Texts, batch_idx: int) -> Tensor:
        return self.architecture(torch.ones(1, 1)).sum()

    def evaluate(self, batch: Texts) -> None:
        self.eval_sums.add(sum(len(text) for _, text in batch), len(batch))
        self.generated += [GeneratedText(place, text, (), text.upper()) for place, text in batch]

    def validation_step(self, batch: Texts, batch_idx: int) -> None:
        self.evaluate(batch)

    def test_step(self, batch: Texts, batch_idx: int) -> None:
        self.evaluate(batch)

    def predict_step(self, batch: Texts, batch_idx: int) -> Hypotheses:
        index, texts = zip(*batch, strict=True)
        return {"index": torch.tensor(index), "hypotheses": list(texts)}


STAGES = ["validate", "test", "predict"]


def run(running: Trainer, stage: str, model: LightningModule, data: Data) -> None:
    silent = {} if stage in ("fit", "predict") else {"verbose": False}
    getattr(running, stage)(model, datamodule=data, **silent)


# --- the vocabulary ------------------------------------------------------------------------------------------------


def test_a_fit_takes_the_vocabulary_of_its_data(trainer):
    model = Shout()
    model.words = ["old"]
    run(trainer(limit_val_batches=0), "fit", model, Data(["a", "b"]))
    assert model.words == ["a", "b"]


@pytest.mark.parametrize("stage", STAGES)
def test_other_stages_keep_the_vocabulary_of_the_checkpoint(trainer, stage):
    model = Shout()
    model.words = ["old"]
    run(trainer(), stage, model, Data(["a", "b"]))
    assert model.words == ["old"]


@pytest.mark.parametrize("stage", STAGES)
def test_other_stages_take_it_from_the_data_if_there_is_none(trainer, stage):
    model = Shout()
    run(trainer(), stage, model, Data(["a", "b"]))
    assert model.words == ["a", "b"]


@pytest.mark.parametrize("stage", ["fit", *STAGES])
def test_a_stage_without_any_vocabulary_does_not_begin(trainer, stage):
    with pytest.raises(ValueError, match="there is no vocabulary"):
        run(trainer(), stage, Shout(), Data(None))


# --- an evaluation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "prefix"), [("validate", "val"), ("test", "test")])
def test_an_evaluation_logs_means_and_scores_and_keeps_texts_in_the_datas_order(trainer, stage, prefix):
    model, running = Shout(), trainer()
    run(running, stage, model, Data(["a"], [[(3, "dd"), (1, "b")], [(0, "aaaa")]]))
    expected = {"letters_per_text": 7 / 3, "texts": 3.0, "longest": 4.0, "count": 3.0}
    logged = {name: value.item() for name, value in running.callback_metrics.items()}
    assert logged == pytest.approx({f"{prefix}/{name}": value for name, value in expected.items()})
    assert [(text.index, text.hypothesis) for text in model.generated] == [(0, "AAAA"), (1, "B"), (3, "DD")]


def test_the_progress_bar_shows_the_first_mean_and_the_first_score(trainer):
    running = trainer()
    run(running, "validate", Shout(), Data(["a"]))
    assert running.progress_bar_metrics.keys() == {"val/letters_per_text", "val/longest"}


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_every_evaluation_starts_afresh_even_after_an_interrupted_one(trainer, stage):
    model = Shout()
    model.generated = [GeneratedText(9, "left", (), "OVER")]
    model.eval_sums.add(1000, 10)
    for _ in range(2):
        running = trainer()
        run(running, stage, model, Data(["a"]))
        assert [text.index for text in model.generated] == [0, 1, 2, 3]
        assert running.callback_metrics[f"{'val' if stage == 'validate' else stage}/letters_per_text"] == 1.0


def test_nothing_generated_is_not_scored(trainer):
    class Silent(Shout):
        def evaluate(self, batch: Texts) -> None:
            self.eval_sums.add(0, len(batch))

    model, running = Silent(), trainer()
    run(running, "validate", model, Data(["a"]))
    assert running.callback_metrics.keys() == {"val/letters_per_text", "val/texts"}
    assert model.generated == []


def test_callbacks_find_the_generated_texts_after_each_validation(trainer: Callable[..., Trainer]):
    seen: list[list[int]] = []

    class Look(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, Shout)
            seen.append([text.index for text in pl_module.generated])

    model = Shout()
    assert model.generated == []
    run(trainer(callbacks=[Look()], max_epochs=2), "fit", model, Data(["a"]))
    assert seen == [[0, 1, 2, 3]] * 2
