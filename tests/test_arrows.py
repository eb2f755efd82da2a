"""The arrows between the packages point one way: who may import whom, read from every file's syntax tree."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"architectures", "datamodules", "lightning_modules", "callbacks", "cli"}
FORBIDDEN = {
    "architectures": ROOMS - {"architectures"},
    "datamodules": ROOMS - {"datamodules"},
    "lightning_modules": {"datamodules", "callbacks", "cli"},
    "callbacks": ROOMS - {"callbacks"},
}
NETWORKS_MAY_IMPORT = {"architectures", "torch", "numpy", "safetensors"} | sys.stdlib_module_names

FILES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package in FORBIDDEN
    for path in sorted((ROOT / package).rglob("*.py"))
]


def imported_packages(path: Path) -> Iterator[str]:
    """First part of every module that `path` imports, anywhere in it; of a relative import, its own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((parents or name.split("."))[0] for name in names)


@pytest.mark.parametrize(("package", "path"), FILES)
def test_imports_no_room_it_must_not_know(package: str, path: Path) -> None:
    assert not set(imported_packages(path)) & FORBIDDEN[package]


@pytest.mark.parametrize("path", [p.values[1] for p in FILES if p.values[0] == "architectures"], ids=str)
def test_networks_import_only_torch(path: Path) -> None:
    assert set(imported_packages(path)) <= NETWORKS_MAY_IMPORT


def test_every_way_of_importing_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "architectures" / "net.py"
    file.parent.mkdir()
    file.write_text(
        "import a.b, c as d\nfrom e.f import g\nfrom . import h\nfrom .. import cli\nfrom ..callbacks import i\n"
        "def f():\n    import j\nif True:\n    from k import l\n"
    )
    assert set(imported_packages(file)) == {"a", "c", "e", "architectures", "cli", "callbacks", "j", "k"}
