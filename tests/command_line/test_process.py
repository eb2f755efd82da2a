"""The set-up of the process: warnings, the first process of several nodes, and imports of every module."""

import sys
from pathlib import Path

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from command_line.process import RANKS, format_our_warning, import_packages, know_other_nodes

ROOT = Path(__file__).parents[2]


def test_a_warning_of_this_program_is_one_line_without_the_place_in_the_code() -> None:
    ours = format_our_warning("no\n network", UserWarning, str(ROOT / "datamodules" / "loader.py"), 7)
    assert ours == "warning: no network\n"


@pytest.mark.parametrize(
    ("category", "path"),
    [(DeprecationWarning, ROOT / "datamodules/loader.py"), (UserWarning, ROOT / ".venv/x.py"), (UserWarning, "/x.py")],
)
def test_another_warning_says_where_it_is_from(category: type[Warning], path: Path | str) -> None:
    assert format_our_warning("old", category, str(path), 7).startswith(f"{path}:7: ")


def test_every_module_of_a_package_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rooms" / "inner").mkdir(parents=True)
    for name in ("rooms/__init__.py", "rooms/one.py", "rooms/inner/__init__.py", "rooms/inner/two.py"):
        (tmp_path / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    import_packages(["rooms"])
    assert {"rooms.one", "rooms.inner.two"} <= set(sys.modules)


def test_a_module_with_a_mistake_is_named_and_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_rooms").mkdir()
    for name, content in (("__init__", ""), ("a_net", "def f(:\n"), ("b_net", "import nowhere_at_all"), ("c_net", "")):
        (tmp_path / "broken_rooms" / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="cannot be imported") as warned:
        import_packages(["broken_rooms"])
    assert "a_net cannot be imported" in str(warned[0].message)
    assert "a_net.py, line 1" in str(warned[0].message)
    assert "No module named 'nowhere_at_all'" in str(warned[1].message)
    assert "broken_rooms.c_net" in sys.modules


@pytest.mark.parametrize(
    ("variables", "rank"),
    [({}, 0), ({"NODE_RANK": "0"}, 0), ({"NODE_RANK": "2"}, 1), ({"NODE_RANK": "2", "LOCAL_RANK": "3"}, 0)],
)
def test_of_several_nodes_only_the_first_has_the_first_process(monkeypatch, variables, rank):
    for name in ("NODE_RANK", *RANKS):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # Lightning's own number, from the other variables, is left as it is
    know_other_nodes()
    assert rank_zero_only.rank == rank
