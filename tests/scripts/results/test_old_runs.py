"""Runs from before run.json are published from their summaries."""

import pytest

from scripts.results.old_runs import record_of

SUMMARY = """# images

Training ended after 8 of 8 epochs.

## Model

CustomCNN: 295,072 parameters, 294,336 trainable; 19,887,392 multiply-adds per 32x32 image.

| part | parameters | trainable |
| --- | --- | --- |
| `whitening` | 288 | 0 |

## Training

|  |  |
| --- | --- |
| time | 1 h 02 min, including 9 min 30 s of validation |
| throughput | 998 images/s in training |
| hardware | AMD EPYC, 2 cores, 2 threads |
| precision | 32-true |
| versions | torch 2.15.0+cu132, lightning 2.6.6, Python 3.11.7 |

## Reproduce

The command of this run:

```
oneforall fit --config configs/quickstart/images.yaml
```
"""


def test_the_record_has_what_the_summary_says() -> None:
    assert record_of(SUMMARY, "abc1234") == {
        "command": "oneforall fit --config configs/quickstart/images.yaml",
        "commits": ["abc1234"],
        "ended": True,
        "network": "CustomCNN",
        "parameters": 295_072,
        "multiply_adds": 19_887_392,
        "epochs": 8,
        "seconds": 3720,
        "validation_seconds": 570,
        "hardware": "AMD EPYC, 2 cores, 2 threads",
        "precision": "32-true",
        "versions": {"torch": "2.15.0+cu132", "lightning": "2.6.6", "Python": "3.11.7"},
    }


def test_text_has_no_multiply_adds() -> None:
    text = SUMMARY.replace("; 19,887,392 multiply-adds per 32x32 image", "").replace("1 h 02 min,", "54.4 s,")
    record = record_of(text, "abc1234")
    assert record["multiply_adds"] is None
    assert record["seconds"] == 54.4


def test_a_run_that_has_not_ended_is_an_error() -> None:
    with pytest.raises(ValueError, match="has ended"):
        record_of(SUMMARY.replace("Training ended", "Training was interrupted"), "abc1234")
