"""Options of one invocation: they hold whatever a config beside them says."""

from pathlib import Path

import pytest

from command_line.invocation import checkpoint_asked_for, with_checkpoint_flag, with_invocation_last


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ("fit --name a --config c.yaml", "fit --config c.yaml --name a"),
        ("fit --name=a --resume -c c.yaml --seed 3", "fit -c c.yaml --seed 3 --name=a --resume"),
        ("fit --resume false --config c.yaml", "fit --config c.yaml --resume false"),
        ("fit --resume --run_dir d -c c.yaml", "fit -c c.yaml --resume --run_dir d"),
        ("test --ckpt_path a --config c.yaml --ckpt_path b", "test --config c.yaml --ckpt_path a --ckpt_path b"),
        ("fit --config c.yaml --names a --model.name b", "fit --config c.yaml --names a --model.name b"),
        ("fit name --config c.yaml --name", "fit name --config c.yaml --name"),
    ],
)
def test_options_of_the_invocation_come_after_all_configs(given: str, changed: str) -> None:
    assert with_invocation_last(given.split()) == changed.split()


def test_a_checkpoint_may_be_named_in_a_config(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("ckpt_path: runs/a\n")
    (tmp_path / "plain.yaml").write_text("base: base.yaml\nckpt_path: null\nseed_everything: 3\n")
    args = ["test", "--config", str(tmp_path / "plain.yaml")]
    assert checkpoint_asked_for(args) == "runs/a"
    assert with_checkpoint_flag(args) == [*args, "--ckpt_path", "runs/a"]
    assert checkpoint_asked_for([*args, "--ckpt_path=runs/b"]) == "runs/b"
    assert with_checkpoint_flag([*args, "--ckpt_path=runs/b"]) == [*args, "--ckpt_path=runs/b"]
    (tmp_path / "home.yaml").write_text("ckpt_path: ~/runs/a\n")
    assert checkpoint_asked_for(["test", "-c", str(tmp_path / "home.yaml")]) == str(Path.home() / "runs/a")
    (tmp_path / "none.yaml").write_text("seed_everything: 3\n")
    assert checkpoint_asked_for(["test", "--config", str(tmp_path / "none.yaml")]) is None
