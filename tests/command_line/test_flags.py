"""All options of every command, with their defaults, are those last written down: `make flags` renews them."""

import difflib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.flags import FOLDER

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """What a new process writes: other tests import modules, and define classes, that the program does not."""
    code = "import json; from scripts.flags import frozen; print(json.dumps(frozen()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    read: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return read


def test_there_is_a_file_for_each_command(texts: dict[str, str]) -> None:
    assert {path.name for path in FOLDER.glob("*.txt")} == set(texts), "run `make flags` and look at the difference"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_no_option_has_changed_unnoticed(texts: dict[str, str], path) -> None:
    written = path.read_text(encoding="utf-8").splitlines()
    changes = list(difflib.unified_diff(written, texts[path.name].splitlines(), path.name, "the program", n=0))
    assert not changes, "\n".join(["run `make flags` if this is meant:", *changes])


def test_what_is_frozen_are_options_with_their_defaults(texts: dict[str, str]) -> None:
    assert "--trainer.max_steps = -1\n" in texts["fit.txt"]
    assert "--checkpoint.mode = 'max'\n" in texts["fit.txt"]
    assert "lightning_modules.image_classifier.ImageClassifier.label_smoothing = 0.0\n" in texts["classes.txt"]
    assert "word ? = ''\n" in texts["configs.txt"]
