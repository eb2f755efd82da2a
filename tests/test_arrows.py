"""The arrows between the packages point one way: who may import whom, read from every file's syntax tree."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    *("architectures", "datamodules", "lightning_modules", "callbacks", "exports", "oneforall", "reports", "sweeps"),
    *("command_line", "commands", "cli", "utils"),
}
# What each room may import of the others. utils is the ground floor: all stand on it, and it on none.
MAY_IMPORT = {
    "utils": set(),
    "architectures": {"utils"},
    "datamodules": {"utils"},
    "lightning_modules": {"architectures", "utils"},
    "callbacks": {"utils"},
    "oneforall": {"datamodules", "lightning_modules", "command_line", "utils"},
    "exports": {"architectures", "lightning_modules", "oneforall", "utils"},
    "reports": {"callbacks", "utils"},
    "command_line": {"utils"},
    "sweeps": {"callbacks", "command_line", "utils"},
    "commands": ROOMS - {"cli"},
    "cli": ROOMS,
}
NETWORKS_MAY_IMPORT = {"architectures", "utils", "torch", "numpy", "safetensors"} | sys.stdlib_module_names
NUMPY, SAFETENSORS = {"architectures/rnn_numpy.py"}, {"architectures/t5/hf_weights.py"}


def files_of(room: str) -> list[Path]:
    """Return the files of a room: those of a package, or one file."""
    return sorted((ROOT / room).rglob("*.py")) or [ROOT / f"{room}.py"]


def imported_packages(path: Path) -> Iterator[str]:
    """Yield the first part of every module that `path` imports, anywhere in it; of a relative import, its own room."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((parents or name.split("."))[0] for name in names)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_no_room_it_must_not_know(room: str) -> None:
    unknown = ROOMS - MAY_IMPORT[room] - {room}
    found = {str(path.relative_to(ROOT)): set(imported_packages(path)) & unknown for path in files_of(room)}
    assert {name: rooms for name, rooms in found.items() if rooms} == {}


def test_networks_import_only_torch_and_the_ground_floor() -> None:
    assert len(files_of("architectures")) > 10
    for path in files_of("architectures"):
        imported, name = set(imported_packages(path)), str(path.relative_to(ROOT))
        assert imported <= NETWORKS_MAY_IMPORT, name
        assert "numpy" not in imported or name in NUMPY
        assert "safetensors" not in imported or name in SAFETENSORS


BROUGHT_IN = """
import importlib, json, pkgutil, sys

def loaded():
    return {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names

def brought_in(names):
    before = loaded()
    for name in names:
        importlib.import_module(name)
    return sorted(loaded() - before)

def modules_of(package):
    yield package
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        yield module.name

brought_in(["torch"])
for_networks = brought_in(["utils.batches", "utils.checks"])
brought_in(["numpy.random", "safetensors.torch"])
networks = brought_in(modules_of("architectures"))
for name in [name for name in sys.modules if name.partition(".")[0] == "architectures"]:
    del sys.modules[name]  # to see who imports them now
everything = brought_in(modules_of("utils"))
print(json.dumps([for_networks, networks, everything, [*modules_of("utils")]]))
"""


def test_networks_and_the_ground_floor_bring_in_no_other_library() -> None:
    """What torch itself imports is torch's affair: everything beyond that must be ours."""
    answer = subprocess.run([sys.executable, "-c", BROUGHT_IN], capture_output=True, text=True, cwd=ROOT, check=True)
    for_networks, networks, everything, modules = json.loads(answer.stdout)
    assert for_networks == ["utils"]  # what networks use of it
    assert networks == ["architectures"]
    assert not set(everything) & ROOMS
    assert {"utils.files", "utils.batches", "utils.contracts"} <= set(modules)


def test_every_room_is_known() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages | {"cli"} == ROOMS


def test_every_way_of_importing_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "architectures" / "net.py"
    file.parent.mkdir()
    file.write_text(
        "import a.b, c as d\nfrom e.f import g\nfrom . import h\nfrom .. import cli\nfrom ..callbacks import i\n"
        "def f():\n    import j\nif True:\n    from k import l\n"
    )
    assert set(imported_packages(file)) == {"a", "c", "e", "architectures", "cli", "callbacks", "j", "k"}
