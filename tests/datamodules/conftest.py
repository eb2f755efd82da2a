"""Files that several tests of datamodules use."""

from __future__ import annotations

import pytest

from tests.datamodules.text.counting import TOKENIZER


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tokenizer of the task `Counting`."""
    file = str(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    TOKENIZER.save(file)
    return file
