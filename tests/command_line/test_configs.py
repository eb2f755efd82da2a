"""Configs are found by path or by a shipped name, bases come before what builds on them, and mistakes name the file."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from command_line.configs import SHIPPED, find_config, given_configs, is_on, option_values, with_found_configs, without


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_found_before_a_shipped_config_of_the_same_name(folder: Path) -> None:
    assert find_config("quickstart/images.yaml") == SHIPPED / "quickstart/images.yaml"
    assert find_config("configs/quickstart/images.yaml") == SHIPPED / "quickstart/images.yaml"
    own = folder / "quickstart" / "images.yaml"
    own.parent.mkdir()
    own.write_text("model: {}\n")
    assert find_config("quickstart/images.yaml").resolve() == own
    assert find_config(str(own)) == own


def test_an_unknown_config_is_named_with_the_nearest_shipped_one(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cifar10/resnet21\.yaml does not exist.*did you mean cifar10/resnet"):
        find_config("cifar10/resnet21.yaml")
    with pytest.raises(FileNotFoundError, match=r"config ~no_such_user_here/a\.yaml does not exist"):
        find_config("~no_such_user_here/a.yaml")
    with pytest.raises(FileNotFoundError, match=r"zzzz does not exist.*char_rnn\.yaml, cifar10/custom_cnn\.yaml"):
        find_config("zzzz")


def test_bases_come_first_and_are_looked_for_beside_the_file(folder: Path) -> None:
    (folder / "far").mkdir()
    (folder / "far/a.yaml").write_text("base: b.yaml\n")
    (folder / "far/b.yaml").write_text("base: quickstart/images.yaml\n")
    (folder / "b.yaml").write_text("not: this one\n")
    found = with_found_configs(["fit", "-c=far/a.yaml", "--x", "1", "--config", "char_rnn.yaml"])
    assert found == [
        *["fit", "--config", str(SHIPPED / "quickstart/images.yaml"), "--config", "far/b.yaml"],
        *["--config", "far/a.yaml", "--x", "1", "--config", str(SHIPPED / "char_rnn.yaml")],
    ]


def test_an_option_without_its_value_is_left_for_the_parser_to_refuse() -> None:
    assert with_found_configs(["fit", "--seed_everything", "1", "--config"])[-1] == "--config"


def test_a_base_in_a_circle_or_missing_is_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text("base: b.yaml\n")
    (folder / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ValueError, match=r"a\.yaml: its base refers back"):
        with_found_configs(["--config", "a.yaml"])
    (folder / "b.yaml").write_text("base: nowhere.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        with_found_configs(["--config", "a.yaml"])


def test_a_base_is_applied_once_so_that_it_undoes_nothing(folder: Path) -> None:
    (folder / "a.yaml").write_text("trainer: {max_epochs: 1}\n")
    (folder / "b.yaml").write_text("base: a.yaml\n")
    (folder / "c.yaml").write_text("base: b.yaml\n")
    found = with_found_configs(["fit", "--config", "a.yaml", "--trainer.max_epochs", "2", "--config", "b.yaml"])
    assert found == ["fit", "--config", "a.yaml", "--trainer.max_epochs", "2", "--config", "b.yaml"]
    twice = with_found_configs(["fit", "--config", "b.yaml", "--config", "c.yaml"])
    assert twice[2::2] == ["a.yaml", "b.yaml", "c.yaml"]
    assert with_found_configs(["--config", "a.yaml", "--config", "a.yaml"]) == ["--config", "a.yaml"] * 2  # as asked


def test_two_configs_on_bases_of_their_own_are_refused(folder: Path) -> None:
    for name in ("x", "y"):
        (folder / f"{name}_base.yaml").write_text("model: {}\n")
        (folder / f"{name}.yaml").write_text(f"base: {name}_base.yaml\n")
    with pytest.raises(ValueError, match=r"y\.yaml builds on y_base\.yaml, which would override x\.yaml, built on"):
        with_found_configs(["--config", "x.yaml", "--config", "y.yaml"])


def test_values_of_an_option_keep_the_order_of_the_command() -> None:
    args = ["fit", "--config=a", "-c", "b", "--ckpt_path", "x", "--config", "c", "--ckpt_path=y", "-c=d"]
    args += ["--configs", "e", "--ckpt_path", "z", "--config"]
    assert option_values(args, "--ckpt_path") == ["x", "y", "z"]
    assert given_configs(args) == ["a", "b", "c", "d"]


def test_a_folder_is_not_a_config_but_may_hold_one(folder: Path) -> None:
    (folder / "run").mkdir()
    with pytest.raises(FileNotFoundError, match="config run is a folder; pass a YAML file in it"):
        find_config("run")
    (folder / "run/config.yaml").write_text("seed_everything: 3\n")
    with pytest.raises(FileNotFoundError, match=r"config run is a folder; pass run/config\.yaml"):
        find_config("run")


@pytest.mark.parametrize("name", ["debug", "trust_checkpoint"])
def test_what_only_a_flag_can_set_is_refused_in_a_config(folder: Path, name: str) -> None:
    (folder / "saved.yaml").write_text(f"{name}: null\n")
    assert with_found_configs(["fit", "-c", "saved.yaml"]) == ["fit", "--config", "saved.yaml"]
    (folder / "own.yaml").write_text(f"{name}: true\n")
    with pytest.raises(ValueError, match=f"config own.yaml sets {name}, which only a flag can; .*--{name}"):
        with_found_configs(["fit", "-c", "own.yaml"])


def test_options_are_left_out_with_their_values_and_nothing_else() -> None:
    args = ["fit", "--name", "--x", "--names", "a", "--seeds=0..4", "-c", "b", "--name=c", "--y", "--seeds"]
    assert without(args, "--name", "--seeds") == ["fit", "--names", "a", "-c", "b", "--y"]
    assert without(args) == args


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ("--trust", True),
        ("--trust --other", True),
        ("--trust -o", True),
        ("--trust=true", True),
        ("--trust True --other", True),
        ("--other --trust yes", True),
        ("--other", False),
        ("--trust false", False),
        ("--trust no", False),
        ("--trust off", False),
        ("--trust=null", False),
        ("--trust ~", False),
        ("--trust=[", False),
        ("--trust --other --trust=false", False),
        ("--trust no --trust", True),
    ],
)
def test_a_flag_is_on_where_the_parser_reads_it_as_true(given: str, on: bool) -> None:
    args = given.split()
    assert is_on(args, "--trust") == on
    if "--trust=[" in args:
        return
    parser = ArgumentParser(exit_on_error=False)
    for name in (["--trust"], ["-o", "--other"]):
        parser.add_argument(*name, type=bool | None, nargs="?", const=True)
    assert bool(parser.parse_args(args).trust) == on
