from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from callbacks.run.best_checkpoint import BestCheckpoint


@pytest.fixture
def scored(tiny_classifier):
    """A classifier with a parameter that is the epoch's number and given scores on the validation data."""

    class Scored(tiny_classifier):
        def __init__(self, scores: list[float]) -> None:
            super().__init__()
            self.scores = scores
            self.epoch = torch.nn.Parameter(torch.tensor(-1.0))

        def on_train_epoch_start(self) -> None:
            self.epoch.data.fill_(self.current_epoch)

        def on_validation_epoch_end(self) -> None:
            self.log("val/score", self.scores[self.current_epoch])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.architecture.parameters(), lr=0.0)

    return Scored


def best_epoch(folder: Path) -> float:
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["best.ckpt"]
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["epoch"].item()


@pytest.mark.parametrize(("mode", "epoch"), [("max", 1), ("min", 2)])
def test_keeps_the_one_best_epoch(mode, epoch, make_trainer, scored, tiny_data, tmp_path):
    callback = BestCheckpoint("val/score", mode)
    trainer = make_trainer(callback, max_epochs=4, enable_checkpointing=True, num_sanity_val_steps=0)
    trainer.fit(scored([0.5, 0.75, 0.25, 0.75]), datamodule=tiny_data())
    assert best_epoch(tmp_path) == epoch


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_best(mode, value, make_trainer, scored, tiny_data, tmp_path):
    settings = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    with pytest.warns(UserWarning, match=r"val/score is .* after epoch 1: not saved as best.ckpt"):
        make_trainer(BestCheckpoint("val/score", mode), **settings).fit(scored([value]), datamodule=tiny_data())
    assert not list((tmp_path / "checkpoints").glob("*"))
    callback = BestCheckpoint("val/score", mode)
    make_trainer(callback, max_epochs=3, **settings).fit(scored([value, 0.5, value]), datamodule=tiny_data())
    assert best_epoch(tmp_path) == 1


def test_a_resumed_run_remembers_the_best(make_trainer, scored, tiny_data, tmp_path):
    settings = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    scores = [0.75, 0.5, 0.5, 1.0]
    first = make_trainer(BestCheckpoint("val/score"), max_epochs=2, **settings)
    first.fit(scored(scores), datamodule=tiny_data())
    first.save_checkpoint(tmp_path / "last.ckpt")
    for epochs, best in ((3, 0), (4, 3)):
        trainer = make_trainer(BestCheckpoint("val/score"), max_epochs=epochs, **settings)
        trainer.fit(scored(scores), datamodule=tiny_data(), ckpt_path=tmp_path / "last.ckpt")
        assert best_epoch(tmp_path) == best


def test_a_moved_run_remembers_the_best(make_trainer, scored, tiny_data, tmp_path, monkeypatch):
    """Started in a relative folder, continued in an absolute one, then in one of another name."""
    monkeypatch.chdir(tmp_path)
    settings = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    scores = [0.75, 0.5, 0.25, 0.125]
    first = make_trainer(BestCheckpoint("val/score"), max_epochs=1, default_root_dir="run", **settings)
    first.fit(scored(scores), datamodule=tiny_data())
    first.save_checkpoint(tmp_path / "last.ckpt")
    for epochs, folder in ((2, tmp_path / "run"), (3, tmp_path / "moved")):
        if folder.name == "moved":
            (tmp_path / "run").rename(folder)
        trainer = make_trainer(BestCheckpoint("val/score"), max_epochs=epochs, default_root_dir=folder, **settings)
        trainer.fit(scored(scores), datamodule=tiny_data(), ckpt_path=tmp_path / "last.ckpt")
        assert best_epoch(folder) == 0
        trainer.save_checkpoint(tmp_path / "last.ckpt")


def test_in_a_folder_without_the_best_it_chooses_again(make_trainer, scored, tiny_data, tmp_path):
    settings = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    first = make_trainer(BestCheckpoint("val/score"), max_epochs=1, **settings)
    first.fit(scored([0.75]), datamodule=tiny_data())
    first.save_checkpoint(tmp_path / "last.ckpt")
    trainer = make_trainer(BestCheckpoint("val/score"), max_epochs=2, default_root_dir=tmp_path / "new", **settings)
    trainer.fit(scored([0.75, 0.5]), datamodule=tiny_data(), ckpt_path=tmp_path / "last.ckpt")
    assert best_epoch(tmp_path / "new") == 1


def test_a_metric_that_the_model_does_not_log_is_refused_before_training(make_trainer, tiny_classifier, tiny_data):
    class Naming(tiny_classifier):
        def validation_metrics(self) -> list[str]:
            return ["val/loss", "val/accuracy"]

        def training_step(self, batch, batch_idx):
            raise AssertionError("training has begun")

    trainer = make_trainer(BestCheckpoint("val/acuracy"), enable_checkpointing=True, num_sanity_val_steps=0)
    with pytest.raises(ValueError, match=r"monitor is val/acuracy, .* did you mean val/accuracy\?"):
        trainer.fit(Naming(), datamodule=tiny_data())


def test_without_validation_there_is_no_best_checkpoint(make_trainer, tiny_classifier, tiny_data, tmp_path):
    trainer = make_trainer(BestCheckpoint(), enable_checkpointing=True, limit_val_batches=0)
    trainer.fit(tiny_classifier(), datamodule=tiny_data())
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_a_misspelt_metric_is_named(make_trainer, tiny_classifier, tiny_data):
    trainer = make_trainer(BestCheckpoint("val/acuracy"), enable_checkpointing=True)
    with pytest.raises(MisconfigurationException, match="val/acuracy"):
        trainer.fit(tiny_classifier(), datamodule=tiny_data())


def test_a_test_finds_the_same_folder(make_trainer, tiny_classifier, tiny_data, tmp_path):
    callback = BestCheckpoint()
    make_trainer(callback, enable_checkpointing=True).test(tiny_classifier(), datamodule=tiny_data(), verbose=False)
    assert callback.dirpath == str(tmp_path / "checkpoints")
