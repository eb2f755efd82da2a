import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from callbacks.predictions.prediction_file import PredictionFile
from tests.callbacks.text_fakes import Batches, TinyText, TinyWriter, batch_of
from utils.batches import is_hypotheses


class Pairs(PredictionFile[str]):
    """A line per row: its place and the text."""

    file_name = "pairs.txt"

    def rows_of(self, outputs: object) -> dict[int, str]:
        assert is_hypotheses(outputs)
        return dict(zip(outputs["index"].tolist(), outputs["hypotheses"], strict=True))

    def write(self, path: Path, rows: Mapping[int, str], trainer: Trainer, pl_module: LightningModule) -> None:
        assert not path.exists()
        path.write_text("".join(f"{index} {rows[index]}\n" for index in sorted(rows)))


BATCHES = [batch_of({2: [2], 1: [2]}), batch_of({0: [2], 3: [2]})]
TEXTS = ["zero", "one", "two", "three"]


def test_all_batches_end_up_in_one_file_of_the_run_folder(make_trainer, tmp_path):
    make_trainer(Pairs()).predict(TinyWriter(TEXTS), TinyText(BATCHES))
    assert (tmp_path / "pairs.txt").read_text() == "0 zero\n1 one\n2 two\n3 three\n"


def test_another_file_and_a_second_use_of_the_trainer(make_trainer, tmp_path):
    output = tmp_path / "other.txt"
    trainer = make_trainer(Pairs(output))
    trainer.predict(TinyWriter(TEXTS), TinyText(BATCHES))
    output.unlink()
    trainer.predict(TinyWriter(TEXTS), TinyText(BATCHES[:1]))
    assert output.read_text() == "1 one\n2 two\n"
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_other_stages_write_nothing(make_trainer, tmp_path, stage):
    getattr(make_trainer(Pairs()), stage)(TinyWriter(TEXTS), TinyText(BATCHES), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_failed_prediction_are_forgotten(make_trainer, tmp_path):
    trainer = make_trainer(Pairs())
    with pytest.raises(IndexError):
        trainer.predict(TinyWriter(TEXTS[:3]), TinyText(BATCHES))
    assert list(tmp_path.iterdir()) == []
    trainer.predict(TinyWriter(TEXTS), TinyText(BATCHES[1:]))
    assert (tmp_path / "pairs.txt").read_text() == "0 zero\n3 three\n"


class OneForAll(TinyText):
    """The first process has all batches, the second one none: it never comes to `on_predict_end`."""

    def predict_dataloader(self) -> Batches:
        self.allow_zero_length_dataloader_with_multiple_devices = True
        return Batches(self.batches if self.trainer.global_rank == 0 else [])  # type: ignore[union-attr]


class Apart(TinyText):
    """Each process has one batch."""

    def predict_dataloader(self) -> Batches:
        return Batches([self.batches[self.trainer.global_rank]])  # type: ignore[union-attr]


def predict_as_one_of_two(folder: str) -> None:
    """What each process of the test below runs."""
    torch.set_num_threads(1)
    for data in (OneForAll(BATCHES), Apart(BATCHES)):
        trainer = Trainer(
            accelerator="cpu",
            strategy="ddp",
            devices=2,
            logger=False,
            enable_progress_bar=False,
            callbacks=[Pairs(Path(folder) / f"{type(data).__name__}.txt")],
            default_root_dir=folder,
            use_distributed_sampler=False,
        )
        trainer.predict(TinyWriter(TEXTS), data, return_predictions=False)


@pytest.mark.slow
def test_the_rows_of_two_processes_end_up_in_one_file(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[3])
    subprocess.run([*launch, __file__, str(tmp_path)], env={**os.environ, "PYTHONPATH": root}, check=True, timeout=300)
    for name in ("OneForAll", "Apart"):
        assert (tmp_path / f"{name}.txt").read_text() == "0 zero\n1 one\n2 two\n3 three\n"


if __name__ == "__main__":
    predict_as_one_of_two(sys.argv[1])
