"""Notes that processes leave each other, in a store of torch's own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed

from utils import lost_processes
from utils.lost_processes import LostProcessError, is_lost_connection, leave_note, settle_with_others

BROKEN = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:10122. More words")
ALL_OF_THREE = [0, 1, 2]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(lost_processes, "_store", lambda: store)
    monkeypatch.setattr(lost_processes, "SECONDS_FOR_NOTES", 0.3)
    return store


def trainer(rank: int, world_size: int = 3) -> Any:
    return SimpleNamespace(global_rank=rank, world_size=world_size)


def test_a_process_that_left_no_note_is_named() -> None:
    leave_note(2, "-")
    with pytest.raises(
        LostProcessError, match=r"^rank 0 cannot continue: rank 1 does not answer; .*\(\[gloo.* by peer"
    ):
        settle_with_others(trainer(0), BROKEN)


def test_a_process_that_failed_is_named_with_its_error() -> None:
    settle_with_others(trainer(2), ValueError("data/train.en.gz does not exist\nmore"))  # it has no lost connection
    with pytest.raises(
        LostProcessError, match=r"rank 1 .*: rank 2 has ended: ValueError: data/train\.en\.gz does not ex"
    ):
        settle_with_others(trainer(1), BROKEN)


def test_the_end_of_the_process_that_has_the_store_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def set(self, key: str, value: str) -> None:
            raise torch.distributed.DistNetworkError("failed to recv, got 0 bytes")

    monkeypatch.setattr(lost_processes, "_store", Gone)
    with pytest.raises(LostProcessError, match="rank 1 cannot continue: rank 0 does not answer"):
        settle_with_others(trainer(1), BROKEN)


def test_an_error_of_the_network_while_all_are_there_stays_what_it_is() -> None:
    for rank in ALL_OF_THREE[1:]:
        leave_note(rank, "-")
    settle_with_others(trainer(0), RuntimeError("NCCL error: Duplicate GPU detected"))
    settle_with_others(trainer(0, world_size=1), BROKEN)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (BROKEN, True),
        (torch.distributed.DistBackendError("NCCL watchdog"), True),
        (ValueError("a file of gloo/ names"), False),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_which_errors_may_mean_that_a_process_is_lost(error: Exception, lost: bool) -> None:
    assert is_lost_connection(error) == lost


def test_an_error_while_a_broken_connection_was_handled_is_none() -> None:
    error = ValueError("the disk is full")
    error.__context__ = BROKEN
    assert not is_lost_connection(error)
    error.__cause__ = BROKEN
    assert is_lost_connection(error)
