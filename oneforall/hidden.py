"""An explanation where a module of the user hides one of this program's packages, whose names are plain words."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def explain_hidden(error: ModuleNotFoundError) -> ModuleNotFoundError | None:
    """Return an error that names the file that hides a package of this program; None if none does.

    A script's folder comes before installed packages, so that a `utils.py` beside it is what `import utils` finds.
    """
    package = (error.name or "").partition(".")[0]
    found = sys.modules.get(package)
    places = [found.__file__] if found and found.__file__ else list(getattr(found, "__path__", []))
    hiding = next((place for place in places if not Path(place).resolve().is_relative_to(ROOT)), None)
    if hiding is None or not (ROOT / package / "__init__.py").is_file():
        return None
    return ModuleNotFoundError(
        f"{hiding} hides the package `{package}` of One for All: rename it, or run your script from another folder",
        name=error.name,
    )
