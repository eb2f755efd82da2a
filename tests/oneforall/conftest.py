"""Models of two finished runs."""

from pathlib import Path

import pytest

from oneforall import ImageModel, TextModel, load


@pytest.fixture(scope="session")
def classifier(image_run: Path) -> ImageModel:
    model = load(image_run)
    assert isinstance(model, ImageModel)
    return model


@pytest.fixture(scope="session")
def translator(text_run: Path) -> TextModel:
    model = load(text_run)
    assert isinstance(model, TextModel)
    return model
