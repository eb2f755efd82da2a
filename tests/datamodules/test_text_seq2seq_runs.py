"""Runs on texts under a real Trainer: resuming inside an epoch, and the tokenizer that each stage uses."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from callbacks.predictions.text_predictions import TextPredictions
from datamodules.text.tokenizer import train_tokenizer
from datamodules.text.toy_tasks import NumberTask, ReverseTask
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from tests.datamodules.text.counting import TOKENIZER, Counting, decode, make_data
from tests.datamodules.trainers import SaveEachBatch, fake_trainer, trainer_in
from utils.batches import Seq2SeqBatch
from utils.tokenizer_files import load_tokenizer


class Recorder(LightningModule):
    """Keeps every batch, those of training by (epoch, step), and sums the weights that optimizer steps give them."""

    tokenizer: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[int, int], Seq2SeqBatch] = {}
        self.validated: list[int] = []
        self.predicted: list[int] = []

    def training_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Tensor:
        assert (self.current_epoch, batch_idx) not in self.seen
        self.seen[self.current_epoch, batch_idx] = batch
        tokens = (batch.labels != -100).sum()
        return self.weight.sum() * tokens * self.trainer.accumulate_grad_batches / batch.step_tokens

    def validation_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        self.validated += batch.index.tolist()

    def predict_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        self.predicted += batch.index.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1.0)


@pytest.mark.parametrize("bpe_dropout", [0.0, 0.3])
@pytest.mark.filterwarnings("error:.*mid-epoch.*", "error:.*not resumable.*", "ignore")
def test_accelerate_2016_transformers_pr_40691_a_run_resumed_after_any_batch_has_the_same_batches(
    tokenizer_file: str, tmp_path: Path, bpe_dropout: float
) -> None:
    def module() -> TextSeq2SeqDataModule:
        return make_data(Counting(30, references=2), tokenizer_file, batch_tokens=100, bpe_dropout=bpe_dropout)

    batches = len(module().train_dataloader())
    accumulated = next(number for number in (3, 4, 5) if batches % number)  # the last group of an epoch is shorter
    whole, saved = Recorder(), SaveEachBatch(tmp_path)
    trainer_in(tmp_path, accumulate_grad_batches=accumulated, callbacks=[saved]).fit(whole, module())
    assert sorted(whole.validated) == sorted(2 * list(range(30)))
    steps = list(whole.seen)
    assert steps == [(epoch, step) for epoch in range(2) for step in range(batches)]
    # The gradient of each optimizer step is a weighted mean of ones: 1.
    assert torch.allclose(whole.weight, torch.tensor(-2.0 * math.ceil(batches / accumulated)))
    for number in (0, 1, len(steps) // 2 - 1, len(steps) // 2 + 1):
        rest = Recorder()
        trainer_in(tmp_path, accumulate_grad_batches=accumulated).fit(
            rest, module(), ckpt_path=saved.path(*steps[number]), weights_only=True
        )
        assert list(rest.seen) == steps[number + 1 :]
        for key, batch in rest.seen.items():
            assert all(torch.equal(one, other) for one, other in zip(batch[:4], whole.seen[key][:4], strict=True))
            assert batch.step_tokens == whole.seen[key].step_tokens


@pytest.mark.filterwarnings("ignore")
def test_a_run_keeps_its_tokenizer(tokenizer_file: str, tmp_path: Path) -> None:
    options = {"vocab_size": 400, "tokenizer_model": "bpe", "num_sentinels": 0, "cache_dir": str(tmp_path / "cache")}
    numbers_task = NumberTask(num_train=30, num_val=5, num_test=5)
    first = make_data(numbers_task, None, max_source_length=60, batch_tokens=500, eval_batch_tokens=500, **options)
    trainer_in(tmp_path / "run", max_epochs=1).fit(Recorder(), first)
    kept = (tmp_path / "run/tokenizer.json").read_text()
    assert load_tokenizer(tmp_path / "run").to_str() == first.tokenizer.to_str()
    assert list((tmp_path / "cache").glob("tokens-*"))
    # Another run in the same folder continues with it, whatever its config says.
    second = make_data(ReverseTask(num_train=30, num_val=5, num_test=5), tokenizer_file, **options)
    trainer_in(tmp_path / "run", max_epochs=1).fit(Recorder(), second)
    assert second.tokenizer.to_str() == first.tokenizer.to_str()
    assert (tmp_path / "run/tokenizer.json").read_text() == kept


@pytest.mark.filterwarnings("ignore")
def test_outside_a_fit_the_tokenizer_is_that_of_the_model(tokenizer_file: str, tmp_path: Path) -> None:
    model = Recorder()
    model.tokenizer = train_tokenizer(["say: 1 x"] * 9, 300, "bpe", 0)
    trainer = trainer_in(tmp_path)
    options = {"max_source_length": 80, "eval_batch_tokens": 400}
    module = make_data(Counting(12), tokenizer_file, **options)
    with pytest.raises(ValueError, match=r"not the tokenizer that the model was trained with.*--data\.tokenizer null"):
        trainer.validate(model, module, verbose=False)
    module = make_data(Counting(12), None, **options)
    trainer.validate(model, module, verbose=False)
    assert sorted(model.validated) == list(range(12))
    assert module.tokenizer is model.tokenizer
    (tmp_path / "lines").write_text("\n1 x\n\n\n22 x\n")
    module = make_data(Counting(12), None, predict_path=str(tmp_path / "lines"), **options)
    trainer.predict(model, module, return_predictions=False)
    assert sorted(model.predicted) == [1, 4]
    assert module.predict_count == 5
    assert not (tmp_path / "tokenizer.json").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_blank_lines_is_predicted_as_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("\n \n\t\n")
    model = Recorder()
    model.tokenizer = TOKENIZER
    module = make_data(Counting(), None, predict_path=str(tmp_path / "lines"), cache_dir=str(tmp_path / "cache"))
    trainer_in(tmp_path, callbacks=[TextPredictions()]).predict(model, module, return_predictions=False)
    assert (tmp_path / "predictions.txt").read_text() == "\n\n\n"
    assert model.predicted == []


def test_all_processes_of_a_fit_have_the_tokenizer_of_the_first(tokenizer_file: str, tmp_path: Path) -> None:
    """The folder that the other processes take for the run's has another tokenizer."""
    train_tokenizer(["say: 1 x"] * 9, 300, "bpe", 0).save(str(tmp_path / "tokenizer.json"))
    strategy = SimpleNamespace(broadcast=lambda content: TOKENIZER.to_str(), root_device=torch.device("cpu"))
    for rank, folder in enumerate(["no/such/folder", str(tmp_path), str(tmp_path)]):
        module = make_data(Counting(), tokenizer_file)
        module.trainer = fake_trainer(rank, 3, stage="fit", default_root_dir=folder, strategy=strategy)
        module.setup("fit")
        assert module.tokenizer.to_str() == TOKENIZER.to_str()
        assert all(decode(batch.input_ids[0]).startswith("say: ") for batch in module.train_dataloader())
