"""A module of the user that has the name of one of ours is named."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_module_that_hides_a_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("")
    (tmp_path / "script.py").write_text("import oneforall\n")
    run = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert f"{tmp_path / 'utils.py'} hides the package `utils` of One for All: rename it" in last


def test_a_missing_library_is_not_explained_away() -> None:
    from oneforall.hidden import explain_hidden

    missing = ModuleNotFoundError("No module named 'numpy'", name="numpy")
    assert explain_hidden(missing) is None
