"""What importing a module of `utils` brings along: no other package of this program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"architectures", "callbacks", "cli", "command_line", "datamodules", "lightning_modules"}
MODULES = sorted(path.stem for path in (ROOT / "utils").glob("*.py") if path.stem != "__init__")
FOR_NETWORKS = ["batches", "checks"]  # architectures/ depends on torch alone


def packages_after(*modules: str) -> set[str]:
    """Return the packages that a fresh interpreter has loaded once it has imported `modules`."""
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_no_module_imports_another_room():
    assert len(MODULES) >= 8
    assert not packages_after(*(f"utils.{name}" for name in MODULES)) & ROOMS


@pytest.mark.parametrize("name", FOR_NETWORKS)
def test_what_networks_use_imports_torch_at_most(name):
    assert packages_after(f"utils.{name}", "torch") - packages_after("torch") <= {"utils", *sys.stdlib_module_names}
