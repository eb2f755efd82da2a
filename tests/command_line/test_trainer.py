"""The Trainer of the command line is Lightning's, and understands `auto`."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer

from command_line import trainer
from command_line.trainer import AutoPrecisionTrainer


@pytest.mark.parametrize("chosen", ["bf16-mixed", "32-true"])
def test_auto_is_the_precision_of_the_accelerator(chosen: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trainer, "preferred_precision", {"cpu": chosen}.__getitem__)
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "default_root_dir": tmp_path}
    assert AutoPrecisionTrainer(precision="auto", **options).precision == chosen
    assert AutoPrecisionTrainer(**options).precision == "32-true"
    assert AutoPrecisionTrainer(precision="bf16-mixed", **options).precision == "bf16-mixed"


def test_its_other_arguments_are_lightnings() -> None:
    ours, theirs = (inspect.signature(kind.__init__).parameters for kind in (AutoPrecisionTrainer, Trainer))
    assert list(ours) == ["self", "accelerator", "precision", "kwargs"]
    for name in ("accelerator", "precision"):
        assert ours[name].default == theirs[name].default
