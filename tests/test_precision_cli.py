"""`--trainer.precision auto`: a run keeps the precision in which it began, also on another machine."""

import json
from pathlib import Path

import pytest
import yaml

from tests.tiny_runs import CONFIGS
from utils import precision

FIT = [
    *["fit", "--config", str(CONFIGS / "images.yaml"), "--model.architecture.widths", "[4,4,4]", "--run_dir", "run"],
    *["--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu", "--trainer.precision", "auto"],
]
ZEN4 = {"vendor_id": "AuthenticAMD", "flags": "avx512_bf16"}


def test_it_is_chosen_once(oneforall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_facts", lambda: ZEN4)
    assert oneforall(*FIT, "--trainer.max_epochs", "1").code == 0
    assert _precision() == "bf16-mixed"

    monkeypatch.setattr(precision, "processor_facts", dict)  # a machine without bfloat16
    assert oneforall(*FIT, "--trainer.max_epochs", "2", "--resume").code == 0
    assert _precision() == "bf16-mixed"

    test = ["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--trainer.accelerator", "cpu", "--report", "false"]
    assert oneforall(*test, "--run_dir", "as_it_is").code == 0
    assert oneforall(*test, "--run_dir", "auto", "--trainer.precision", "auto").code == 0
    assert oneforall(*test, "--run_dir", "given", "--trainer.precision", "32-true").code == 0
    used = {path.parent.name: json.loads(path.read_text())["precision"] for path in Path().glob("*/test_metrics.json")}
    assert used == {"as_it_is": "bf16-mixed", "auto": "bf16-mixed", "given": "32-true"}


def test_a_run_of_no_named_precision_goes_on_in_float32(oneforall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_facts", lambda: ZEN4)
    assert oneforall(*FIT[:-1], "null", "--trainer.max_epochs", "1").code == 0
    assert oneforall(*FIT, "--trainer.max_epochs", "2", "--resume").code == 0
    assert _precision() == "None"


def _precision() -> str:
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    return str(config["trainer"]["precision"])
