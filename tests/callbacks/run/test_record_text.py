import json
from pathlib import Path

import pytest

from callbacks.run.record_text import duration, model_line, training_facts
from tests.reports.run_folders import RECORD

PUBLISHED = sorted((Path(__file__).parents[3] / "results").glob("*/run.json"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.26, "9.3 s"), (59.4, "59.4 s"), (65, "1 min 05 s"), (3720, "1 h 02 min"), (0.0, "0.0 s")]
)
def test_a_duration_has_two_units_at_most(seconds, text):
    assert duration(seconds) == text


def test_the_facts_of_a_run():
    assert model_line(RECORD) == ("CustomCNN: 1,234 parameters, 1,200 trainable; 5,678 multiply-adds per 32x32 image.")
    facts = dict(training_facts(RECORD | {"limits": {"limit_val_batches": 0.5}, "trackers": ["here", "there"]}))
    assert facts == {
        "time": "1 min 05 s, including 0.9 s of validation",
        "throughput": "5 images/s in training",
        "steps": "30 optimizer steps, 300 images seen",
        "limits": "limit_val_batches 0.5",
        "hardware": "a | b, 2 cores",
        "precision": "32-true",
        "W&B": "there",
        "versions": "torch 2.9, lightning 2.6",
        "commit": "abc1234",
    }


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_runs_lack_fields_and_are_described_all_the_same(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert f"{record['parameters']:,} parameters" in model_line(record)
    assert {"time", "hardware", "versions", "commit"} <= set(dict(training_facts(record)))
