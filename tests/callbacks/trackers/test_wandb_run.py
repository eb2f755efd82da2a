"""Which run of W&B a run folder belongs to."""

from types import SimpleNamespace
from typing import Any

from callbacks.trackers.wandb_run import WandbRun, read_id_file


class Settings:
    """The config of a run of W&B."""

    def update(self, config: dict[str, Any], allow_val_change: bool) -> None:
        """Take settings."""


def test_the_run_of_an_agent_is_remembered(tmp_path, monkeypatch):
    """W&B gives a run of `wandb sweep` the id and the project of its agent."""
    own = SimpleNamespace(id="agent1", project="theirs", config=Settings(), offline=False, summary={}, url="x")
    monkeypatch.setattr("callbacks.trackers.wandb_run.has_login", lambda offline: True)
    monkeypatch.setattr(WandbRun, "experiment", own)
    WandbRun(save_dir=str(tmp_path), project="mine").start({})
    assert read_id_file(tmp_path) == {"id": "agent1", "project": "theirs", "offline": False}
    again = WandbRun(save_dir=str(tmp_path), project="mine")
    assert (again._id, again._project) == ("agent1", "theirs")
