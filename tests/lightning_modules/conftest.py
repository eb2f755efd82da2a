from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from tests.lightning_modules.helpers import quiet_trainer


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that makes a silent Trainer; its arguments are those of `Trainer`."""
    return lambda **arguments: quiet_trainer(tmp_path, **arguments)
