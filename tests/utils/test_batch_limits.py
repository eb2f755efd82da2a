"""Which trainer flags limit a stage."""

from pathlib import Path

from tests.datamodules.trainers import trainer_in
from utils.batch_limits import active_limits


def test_which_limits_are_active(tmp_path: Path) -> None:
    assert active_limits(trainer_in(tmp_path), ["train", "val", "test"]) == {}
    assert active_limits(trainer_in(tmp_path, limit_train_batches=1, limit_val_batches=0.5), ["train", "val"]) == {
        "limit_train_batches": 1,
        "limit_val_batches": 0.5,
    }
    assert active_limits(trainer_in(tmp_path, overfit_batches=3), ["train", "val"]).keys() == {
        "limit_train_batches",
        "limit_val_batches",
    }
    assert active_limits(trainer_in(tmp_path, fast_dev_run=2), ["train", "test"]).keys() == {
        "limit_train_batches",
        "limit_test_batches",
    }
