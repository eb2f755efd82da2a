"""Models of two finished runs."""

from pathlib import Path

import pytest

from oneforall import ImageModel, TextModel, load
from tests.tiny_runs import image_run, text_run


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an image classifier."""
    return image_run(tmp_path_factory.mktemp("images") / "run")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a text-to-text model."""
    return text_run(tmp_path_factory.mktemp("texts") / "run")


@pytest.fixture(scope="session")
def classifier(images: Path) -> ImageModel:
    model = load(images)
    assert isinstance(model, ImageModel)
    return model


@pytest.fixture(scope="session")
def translator(texts: Path) -> TextModel:
    model = load(texts)
    assert isinstance(model, TextModel)
    return model
