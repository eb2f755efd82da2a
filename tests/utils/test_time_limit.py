import threading

from utils import time_limit
from utils.time_limit import call_in_time


def test_a_call_is_waited_for_but_not_for_ever(monkeypatch):
    done, never = [], threading.Event()
    call_in_time(lambda: done.append(1))
    assert done == [1]
    monkeypatch.setattr(time_limit, "SECONDS", 0.01)
    call_in_time(never.wait)
    never.set()


def test_a_failure_is_ignored(monkeypatch):
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    call_in_time(lambda: 1 / 0)
    assert failures == []
