import copy
import csv
import math
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from callbacks.gradient_norms import GradientNorms, gradient_norms
from callbacks.predictions.samples import Samples
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from tests.callbacks.fakes import Snapshots
from tests.callbacks.text_fakes import TinyText, TinyWriter, random_batches
from utils.batches import Seq2SeqBatch


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_hand(network: nn.Module, names: list[str]) -> float:
    gradients = [dict(network.named_parameters())[name].grad for name in names]
    return math.sqrt(sum(x * x for g in gradients for x in g.double().flatten().tolist()))  # type: ignore[union-attr]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.embedding = nn.Embedding(5, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
        self.frozen = nn.Linear(2, 2)
        self.head = nn.Linear(4, 5)
        self.head.weight = self.embedding.weight


def test_norms_equal_sums_by_hand():
    network = Shared()
    assert gradient_norms(network) == {}
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if not name.startswith("frozen"):
            parameter.grad = torch.randn_like(parameter)
    norms = gradient_norms(network)
    parts = {
        "scale": ["scale"],
        "embedding": ["embedding.weight"],
        "body": ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"],
        "head": ["head.bias"],
    }
    assert list(norms) == [*parts, "total"]
    for part, names in parts.items():
        assert norms[part] == pytest.approx(by_hand(network, names), rel=1e-6), part
    everything = [name for names in parts.values() for name in names]
    assert norms["total"] == pytest.approx(by_hand(network, everything), rel=1e-6)


def test_the_whole_step_is_measured_before_clipping_at_its_steps_only(make_trainer, tmp_path):
    batches = random_batches(8)
    model = TinyWriter(["x"])
    untrained = copy.deepcopy(model)
    make_trainer(
        GradientNorms(every_n_steps=3),
        accumulate_grad_batches=2,
        gradient_clip_val=1e-9,
        max_epochs=2,
        log_every_n_steps=1,
        logger=MetricsCSV(str(tmp_path)),
    ).fit(model, TinyText(batches))
    loss = sum(untrained_loss(untrained, batch) for batch in batches[:2]) / 2
    loss.backward()  # type: ignore[union-attr]
    network = untrained.architecture
    rows = read(tmp_path)
    measured = [row for row in rows if row["grad_norm/total"]]
    assert [row["step"] for row in measured] == ["0", "3", "6"]  # 4 steps per epoch
    assert [row["epoch"] for row in measured] == ["0", "0", "1"]
    assert len(rows) == 8
    assert all(row["train/step_loss"] for row in rows)
    assert measured[1]["val/loss"]
    assert measured[1]["grad_norm/head"]
    for part in ("embedding", "decoder", "head"):
        names = [name for name, _ in network.named_parameters() if name.startswith(part)]
        assert float(rows[0][f"grad_norm/{part}"]) == pytest.approx(by_hand(network, names), rel=1e-5)
    everything = [name for name, _ in network.named_parameters()]
    assert float(rows[0]["grad_norm/total"]) == pytest.approx(by_hand(network, everything), rel=1e-5)


def untrained_loss(model: TinyWriter, batch: Seq2SeqBatch) -> torch.Tensor:
    logits = model.architecture(batch.input_ids)
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch.input_ids.flatten())


class Breaking(TinyWriter):
    """In batch 1, the gradient of the head's bias alone is `bad` in every element."""

    def __init__(self, bad: float) -> None:
        super().__init__(["x"])
        self.bad = bad

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + (self.architecture.head.bias * self.bad).sum() if batch_idx == 1 else loss


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_logged_and_reported_once(make_trainer, tmp_path, bad):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(GradientNorms(every_n_steps=1), logger=MetricsCSV(str(tmp_path))).fit(
            Breaking(bad), TinyText(random_batches(4))
        )
    rows = read(tmp_path)
    assert all(math.isfinite(float(rows[0][column])) for column in rows[0] if column.startswith("grad_norm"))
    assert rows[1]["grad_norm/head"] == rows[1]["grad_norm/total"] == str(bad)
    assert math.isfinite(float(rows[1]["grad_norm/decoder"]))
    reported = [str(warning.message) for warning in caught if "not finite" in str(warning.message)]
    assert reported == ["optimizer step 2: gradient not finite in head"]
    again = MetricsCSV(str(tmp_path))
    again.load()
    again.save()
    assert read(tmp_path) == rows


def test_a_loss_scale_that_is_too_large_is_no_news(make_trainer, tmp_path):
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(GradientNorms(every_n_steps=1), logger=MetricsCSV(str(tmp_path)), plugins=[plugin]).fit(
            Breaking(math.inf), TinyText(random_batches(2))
        )
    assert read(tmp_path)[1]["grad_norm/head"] == "inf"
    assert not [warning for warning in caught if "not finite" in str(warning.message)]


def test_a_resumed_run_leaves_the_same_metrics_and_samples(tmp_path, make_trainer):
    """From copies of the folder as `kill -9` would have left it, at moments of every kind."""
    folder, reference, copies = tmp_path / "run", tmp_path / "uninterrupted", tmp_path / "copies"

    def train(*more):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        checkpoint = last_checkpoint(folder)
        torch.manual_seed(1 if checkpoint else 0)
        model = TinyWriter(["one", "two"])
        trainer = make_trainer(
            GradientNorms(every_n_steps=3),
            Samples(),
            ResumeCheckpoint(every_n_seconds=0.0),
            *more,
            default_root_dir=folder,
            logger=MetricsCSV(str(folder)),
            max_epochs=3,
            val_check_interval=2,
            log_every_n_steps=2,
        )
        trainer.fit(model, TinyText(random_batches(5)), ckpt_path=checkpoint, weights_only=True)

    train(Snapshots(folder, copies))
    folder.rename(reference)
    assert len(read_headings(reference)) == 6
    stops = [
        "batch-1",
        "batch-2",
        "validation-2",
        "batch-3",
        "batch-5",
        "epoch-5",
        "batch-6",
        "validation-7",
        "batch-9",
    ]
    for stop in [*stops, "batch-12", "validation-14", "batch-15"]:
        shutil.copytree(copies / stop, folder)
        train()
        for name in ("metrics.csv", "samples.md"):
            assert (folder / name).read_bytes() == (reference / name).read_bytes(), f"{name} after {stop}"
        shutil.rmtree(folder)


def last_checkpoint(folder: Path) -> str | None:
    last = folder / "checkpoints" / "last.ckpt"
    return str(last) if last.is_file() else None


def read_headings(folder: Path) -> list[str]:
    return [line for line in (folder / "samples.md").read_text().split("\n") if line.startswith("## ")]


def test_modules_without_an_architecture_and_bad_arguments(make_trainer, tmp_path):
    model = TinyWriter(["x"])
    network = model.architecture
    del model.architecture
    model.first, model.second = network, nn.Linear(1, 1)
    model.training_step = lambda batch, batch_idx: network(batch.input_ids).square().mean()  # type: ignore[method-assign]
    make_trainer(GradientNorms(), logger=MetricsCSV(str(tmp_path))).fit(model, TinyText(random_batches(1)))
    assert [key for key in read(tmp_path)[0] if key.startswith("grad")] == ["grad_norm/first", "grad_norm/total"]
    with pytest.raises(ValueError, match="every_n_steps"):
        GradientNorms(every_n_steps=0)
