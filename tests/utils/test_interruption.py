import os
import signal

import pytest

from utils import interruption
from utils.interruption import Interrupted, signals_raise


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 138), (signal.SIGTERM, 143)])
def test_a_signal_raises_at_once_unless_deferred(number, code):
    with signals_raise():
        with pytest.raises(Interrupted) as stopped:
            os.kill(os.getpid(), number)
        assert stopped.value.exit_code == code


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_20806_a_deferred_signal_waits_until_asked_for_however_often_it_comes(number):
    with signals_raise():
        interruption.defer(True)
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert interruption.requested() == number
        with pytest.raises(Interrupted):
            interruption.raise_requested()


def test_sigterm_after_sigusr1_leaves_it_that_the_job_is_queued_again():
    with signals_raise():
        interruption.defer(True)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert interruption.requested() == signal.SIGUSR1


def test_ctrl_c_prevails_over_sigusr1_and_that_over_sigterm():
    signals = [None, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
    assert [interruption.urgency(number) for number in signals] == [0, 1, 2, 3]
    assert [interruption.of_urgency(number) for number in range(4)] == signals


def test_a_second_ctrl_c_stops_at_once():
    with signals_raise():
        interruption.defer(True)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


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


def test_20806_signals_after_the_training_has_stopped_do_not_disturb_what_is_left_to_do():
    with signals_raise():
        interruption.defer(True)
        with pytest.raises(Interrupted) as stopped:
            interruption.stop(signal.SIGUSR1)
        assert stopped.value.signal == interruption.requested() == signal.SIGUSR1
        interruption.defer(False)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    with signals_raise(), pytest.raises(Interrupted):  # the next program
        os.kill(os.getpid(), signal.SIGTERM)
