"""Check of published runs: the configs that have changed since the run."""

import shlex
import subprocess
from itertools import pairwise
from pathlib import Path, PurePosixPath

from scripts.results.runs import Run
from utils.config_bases import with_base
from utils.precision import AUTO

ROOT = Path(__file__).parents[2]


def changed_configs(run: Run, root: Path = ROOT) -> list[str]:
    """Return the configs of a run's command whose content, their bases' included, has changed since its commit.

    Comments do not count, nor does a precision that is now `auto`: the run's record says in which one it trained.

    Args:
        run: The run.
        root: A git checkout that has the commit.

    Raises:
        LookupError: The commit is not in the checkout, as in a shallow clone.
    """
    commit = run.record["commits"][-1].removesuffix("+changes")
    _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    return [path for path in _named(run.record["command"]) if not _same(path, commit, root)]


def _named(command: str) -> list[str]:
    """Return the files after `--config` in a command; a shipped config may go by its name in configs/."""
    words = [word for part in shlex.split(command) for word in part.split("=", 1)]
    files = [value for option, value in pairwise(words) if option == "--config"]
    return [file if file.startswith("configs/") else f"configs/{file}" for file in files]


def _same(path: str, commit: str, root: Path) -> bool:
    try:
        then = with_base(PurePosixPath(path), lambda each: _git(root, "show", f"{commit}:{each}"))
        now = with_base(PurePosixPath(path), lambda each: (root / each).read_text(encoding="utf-8"))
    except (LookupError, FileNotFoundError):  # a new file, or one that is gone
        return False
    if now.get("trainer", {}).get("precision") == AUTO:
        then.setdefault("trainer", {})["precision"] = AUTO
    return then == now


def _git(root: Path, *command: str) -> str:
    answer = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
    if answer.returncode:
        raise LookupError(f"git {shlex.join(command)}: {answer.stderr.strip()}")
    return answer.stdout
