"""W&B's server and client, as far as a run uses them."""

from typing import Any

from callbacks.trackers.wandb_record import STEP


class Server:
    """What W&B's server keeps of one run, whichever process sends it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.sessions = 0
        self.is_down = lambda: False

    def init(self, **arguments: Any) -> "Session":
        self.ids.add(arguments["id"])
        self.tags |= set(arguments["tags"] or [])
        self.sessions += 1
        return Session(self, arguments["id"])

    def cut(self, count: int) -> None:
        """Leaves the first rows: the others never arrived."""
        self.rows = self.rows[:count]
        self.summary = {key: value for row in self.rows for key, value in row.items()}

    def scalars(self) -> list[dict[str, float]]:
        rows = [{key: value for key, value in row.items() if isinstance(value, float | int)} for row in self.rows]
        return [row for row in rows if row.keys() != {STEP}]


class Session:
    offline, url = False, "https://wandb.ai/run"

    def __init__(self, server: Server, run_id: str) -> None:
        self.id, self.server = run_id, server
        self.summary, self.name = dict(server.summary), "run"
        self.config = self

    def update(self, config: dict[str, Any], allow_val_change: bool) -> None:
        assert allow_val_change
        self.server.config.update(config)

    def log(self, row: dict[str, Any]) -> None:
        if self.server.is_down():
            raise ConnectionResetError("Connection lost")
        self.server.rows.append(row)
        self.server.summary.update(row)

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.server.artifacts.append(artifact.name)

    def finish(self, exit_code: int = 0) -> None:
        pass
