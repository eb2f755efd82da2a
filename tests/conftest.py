import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `first` ahead of all others, so that a run that stops early has had them."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
