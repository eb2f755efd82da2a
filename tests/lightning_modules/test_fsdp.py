"""FSDP with two processes on the CPU: the same training as one process, the same checkpoints."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from architectures.t5.model import T5
from callbacks.gradient_norms import GradientNorms
from callbacks.non_finite import NonFinite
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.resumed_settings import ResumedSettings
from callbacks.run.run_folder import RunFolder
from datamodules.loader import BatchLoader, evaluation_loader, training_position
from lightning_modules.fsdp import FullySharded
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.optim.schedules import WarmupCosine
from tests.close import assert_close
from tests.lightning_modules.helpers import quiet_trainer
from tests.lightning_modules.text_fakes import Data, network, seq2seq
from utils.batches import Seq2SeqBatch
from utils.checkpoints import read_config
from utils.weights import digest_of

STEPS = 4
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "scaled_adamw": lambda groups: ScaledAdamW(groups, lr=0.01, weight_decay=0.1),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01),
}


class SplitData(Data):
    """Steps of 8 pairs, of which each process has its share."""

    def __init__(self) -> None:
        super().__init__(count=8 * STEPS, batch_size=8)

    def train_dataloader(self) -> Any:
        rank, world_size = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]

        def fetch(places: torch.Tensor, epoch: int, step: int) -> Seq2SeqBatch:
            parts = self.trainer.accumulate_grad_batches  # type: ignore[union-attr]
            group = self.places[step - step % parts :][:parts]
            return self.batch(places[rank::world_size], sum(map(self.tokens, group)))

        return BatchLoader(lambda epoch: self.places, fetch, lambda: training_position(self.trainer))

    def val_dataloader(self) -> Any:
        """Three batches: with two processes, the second has an empty one in the end."""
        return evaluation_loader(self.places[:3], self.batch, self.trainer)


def fit(folder: Path, optimizer: str, **settings: Any) -> Trainer:
    """Train from the same weights, with clipping, accumulation and recomputed activations."""
    running = quiet_trainer(
        folder,
        max_epochs=2,
        gradient_clip_val=0.5,
        accumulate_grad_batches=2,
        callbacks=[NonFinite(every_n_steps=1), GradientNorms(every_n_steps=1), KeepResults()],
        **settings,
    )
    net = T5(network(num_layers=2, tie_word_embeddings=False).config, activation_checkpointing=True)
    net.load_state_dict(network(num_layers=2, tie_word_embeddings=False).state_dict())
    model = seq2seq(net, optimizer=OPTIMIZERS[optimizer], validation_examples=12, scores=["exact_match"])
    running.fit(model, datamodule=SplitData())
    return running


class KeepResults(Callback):
    """Keeps the metrics of each validation and the texts generated in it, and weights and optimizer of the end."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"metrics": [], "texts": []}

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.found["metrics"].append(
            {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        )
        self.found["texts"].append([tuple(text)[:4] for text in pl_module.generated])

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.found["weights"] = trainer.strategy.lightning_module_state_dict()
        self.found["optimizer"] = trainer.strategy.optimizer_state(trainer.optimizers[0])


def results(trainer: Trainer) -> dict[str, Any]:
    return next(each.found for each in vars(trainer)["callbacks"] if isinstance(each, KeepResults))


def as_one_of_two(folder: Path) -> None:
    """What each process of the tests below runs."""
    torch.set_num_threads(1)
    for name in OPTIMIZERS:
        found = results(fit(folder, name, strategy=FullySharded(), devices=2))
        if os.environ["RANK"] == "0":
            torch.save(found, folder / f"{name}.pt")
    for name, cuts in (("whole", []), ("resumed", [3])):
        for before in [*cuts, None]:
            with suppress(PowerCut):
                resumable_fit(folder / name, before)


class PowerCut(BaseException):
    pass


class Cut(Callback):
    """Ends the run before a batch, counted from 0."""

    def __init__(self, before: int | None) -> None:
        self.before = before

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.before:
            raise PowerCut


def resumable_fit(folder: Path, before: int | None) -> None:
    """Train with dropout, from `last.ckpt` if there is one."""
    last = folder / "checkpoints" / "last.ckpt"
    callbacks = [RunFolder({}), ResumedSettings(), ResumeCheckpoint(every_n_steps=1), Cut(before)]
    running = quiet_trainer(folder, max_epochs=2, callbacks=callbacks, strategy=FullySharded(), devices=2)
    model = seq2seq(
        network(num_layers=2, dropout_rate=0.2), optimizer=OPTIMIZERS["scaled_adamw"], schedule=WarmupCosine
    )
    model.hparams.clear()
    ckpt_path = str(last) if last.exists() else None
    running.fit(model, datamodule=SplitData(), ckpt_path=ckpt_path, weights_only=True)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("of_two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, __file__, str(folder)], env=environment, check=True, timeout=500)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_processes_train_and_score_as_one(optimizer: str, of_two: Path, tmp_path: Path) -> None:
    two = torch.load(of_two / f"{optimizer}.pt", weights_only=False)
    one = results(fit(tmp_path, optimizer))
    assert two["weights"].keys() == one["weights"].keys()
    for name, weight in one["weights"].items():
        assert_close(two["weights"][name], weight, what=name)
    assert two["optimizer"]["state"].keys() == one["optimizer"]["state"].keys()
    for number, state in one["optimizer"]["state"].items():
        for key, value in state.items():
            found = two["optimizer"]["state"][number][key]
            assert_close(
                torch.as_tensor(found).double(),
                torch.as_tensor(value).double(),
                dtype=torch.float32,
                what=f"{key} of parameter {number}",
            )
    assert two["texts"] == one["texts"]
    assert len(two["texts"][0]) == 12
    for there, here in zip(two["metrics"], one["metrics"], strict=True):
        assert there == pytest.approx(here, rel=1e-4)


@pytest.mark.slow
def test_a_resumed_run_of_two_processes_equals_an_uninterrupted_one(of_two: Path) -> None:
    whole, resumed = (torch.load(of_two / each / "checkpoints/last.ckpt") for each in ("whole", "resumed"))
    assert whole["global_step"] == 2 * STEPS
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "text_seq2seq"):
        assert digest_of(resumed[part]) == digest_of(whole[part]), part


@pytest.mark.slow
def test_one_process_reads_and_resumes_the_checkpoint_of_two(of_two: Path, tmp_path: Path) -> None:
    path = of_two / "whole/checkpoints/last.ckpt"
    read_config(path, to_resume=True)  # refuses one that is not intact
    saved = torch.load(path)
    model = seq2seq(network(num_layers=2), optimizer=OPTIMIZERS["scaled_adamw"], schedule=WarmupCosine)
    running = quiet_trainer(tmp_path, max_epochs=2)
    running.fit(model, datamodule=SplitData(), ckpt_path=str(path), weights_only=True)  # nothing is left to train
    assert digest_of(dict(model.state_dict())) == digest_of(saved["state_dict"])
    assert digest_of(running.optimizers[0].state_dict()["state"]) == digest_of(saved["optimizer_states"][0]["state"])


if __name__ == "__main__":
    as_one_of_two(Path(sys.argv[1]))
