import os
import signal

import pytest

from utils import interruption
from utils.interruption import Interrupted, signals_raise


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises_at_once_unless_deferred(number, code):
    with signals_raise():
        with pytest.raises(Interrupted) as stopped:
            os.kill(os.getpid(), number)
        assert stopped.value.exit_code == code


def test_a_deferred_signal_waits_until_asked_for_and_the_second_does_not():
    with signals_raise():
        interruption.defer(True)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested() == signal.SIGTERM
        with pytest.raises(Interrupted):
            interruption.raise_requested()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)


def test_handlers_of_before_are_back_afterwards_and_a_request_is_forgotten():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with signals_raise():
        interruption.defer(True)
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    with signals_raise():
        assert interruption.requested() is None
        interruption.raise_requested()


def test_no_except_clause_for_errors_swallows_it():
    assert not issubclass(Interrupted, Exception)
    assert not issubclass(Interrupted, KeyboardInterrupt)  # on which Lightning exits with code 1
