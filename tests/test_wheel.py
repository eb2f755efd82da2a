"""The wheel that `pip install .` builds has all that a run needs, wherever it is started."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
PACKAGES = (
    "architectures",
    "callbacks",
    "command_line",
    "commands",
    "configs",
    "datamodules",
    "exports",
    "lightning_modules",
    "oneforall",
    "reports",
    "sweeps",
    "utils",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tracked files alone."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv, which `make` installs, is not there")
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(bytes.decode, tracked)):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", "dist"], cwd=source, check=True, timeout=300)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_holds_every_module_config_and_marker_of_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml", ".html", ".css", ".js") or path.name == "py.typed"
    }
    assert expected | {"cli.py"} <= names
    assert not any(name.startswith(("tests/", "benchmarks/", "scripts/")) for name in names)


@pytest.mark.slow
def test_a_shipped_config_trains_from_an_unpacked_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    command = ["-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import cli; cli.main()"]
    outcome = subprocess.run(
        [sys.executable, *command, "fit", "--config", "quickstart/images.yaml", *SHORT],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert (tmp_path / "elsewhere" / "runs" / "images" / "checkpoints" / "best.ckpt").is_file()
