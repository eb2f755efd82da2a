"""Descriptions of the files in a run folder, for a user who opens it for the first time."""

from pathlib import Path

CONTENTS = {
    "config.yaml": "the resolved config; `oneforall fit --config` repeats the run",
    "config-1.yaml": "the config before the run was first resumed with another; likewise config-2.yaml, ...",
    "report.html": "the whole run on one page, for a browser",
    "metrics.csv": "losses, scores and learning rate of every epoch",
    "throughput.csv": "seconds and examples of every epoch",
    "checkpoints": "best.ckpt (best on validation), last.ckpt and previous.ckpt (for --resume)",
    "tokenizer.json": "the vocabulary and the rules that split text into tokens",
    "curves.png": "the metrics over the epochs",
    "confusion_matrix.png": "class confusions",
    "mistakes.png": "the most confident errors",
    "filters.png": "the filters of the first convolution",
    "samples.md": "text generated at each validation, beside the references",
    "attention.png": "the source tokens attended to for each generated token",
    "summary.md": "the run on one page: model size, scores, time, hardware, command",
    "run.json": "the same for programs, with the time after each epoch",
    "test_metrics.json": "all test metrics, unrounded, and the data they were measured on",
    "test_hypotheses.txt": "the text generated for each test example, one per line",
    "test_outputs.jsonl": "the same with source, references and score",
    "model.onnx": "the network for onnxruntime",
    "model.pt2": "the network for torch.export.load",
    "hf": "the model and its tokenizer for transformers",
    "ctranslate2": "the model and its tokenizer for CTranslate2",
}
"""Description of each file, by name."""


def contents(folder: Path) -> list[str]:
    """Return one line per known file in a run folder: its name and what it is."""
    return [f"  {name:<22}{what}" for name, what in CONTENTS.items() if (folder / name).exists()]
