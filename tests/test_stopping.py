"""The plateau, worked by hand, and signals that wait for the end of a step."""

import os
import signal
import threading
from typing import Any

import pytest

from crossfield.errors import ConfigError, DataError
from crossfield.stopping import Interrupts, Plateau


def test_a_rising_metric_is_watched_until_patience_runs_out() -> None:
    plateau = Plateau("auc", patience=2, min_delta=0.01)
    improved = [plateau.update({"auc": value, "log_loss": 1.0}) for value in (0.7, 0.72, 0.725, 0.75, 0.7, 0.755)]
    # 0.725 is only 0.005 better than 0.72; 0.75 is 0.03 better and starts the count anew; then two failures.
    assert improved == [True, True, False, True, False, False]
    assert plateau.best == 0.75 and plateau.failures == 2 and plateau.is_reached


@pytest.mark.parametrize("metric", ["log_loss", "normalized_entropy"])
def test_losses_should_fall(metric: str) -> None:
    plateau = Plateau(metric, patience=1, min_delta=0.0)
    assert [plateau.update({metric: value}) for value in (0.5, 0.4, 0.45)] == [True, True, False]
    assert plateau.best == 0.4


def test_without_a_name_the_first_metric_is_watched() -> None:
    plateau = Plateau(None, patience=1, min_delta=0.0)
    plateau.update({"hr@10": 0.3, "ndcg@10": 0.9})
    assert plateau.best == 0.3


def test_an_unmeasured_monitor_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"train\.monitor = 'acu' is not measured; did you mean 'auc'"):
        Plateau("acu", patience=1, min_delta=0.0).update({"auc": 0.5})


def test_a_metric_that_is_no_number_is_an_error() -> None:
    with pytest.raises(DataError, match="auc of the validation rows is nan"):
        Plateau("auc", patience=1, min_delta=0.0).update({"auc": float("nan")})


def test_the_watch_goes_on_where_it_stood() -> None:
    first, second = Plateau("auc", 2, 0.0), Plateau("auc", 2, 0.0)
    first.update({"auc": 0.6})
    first.update({"auc": 0.5})
    second.load_state_dict(first.state_dict())
    assert (second.best, second.failures) == (0.6, 1)
    assert not second.update({"auc": 0.6}) and second.is_reached


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_whole_step_and_then_acts(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(*_: Any) -> None:
        raise KeyboardInterrupt("terminated")

    before = signal.signal(signal.SIGTERM, terminate)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
            with interrupts.whole():
                os.kill(os.getpid(), number)
                done.append("the rest of the step")
            done.append("never")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["the rest of the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_between_steps_a_signal_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the signal should have acted")


def test_where_the_step_fails_its_own_error_counts() -> None:
    with pytest.raises(ValueError, match="half a step"), Interrupts() as interrupts, interrupts.whole():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("half a step")


def test_a_signal_waits_for_the_outermost_block() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.whole():
        with interrupts.whole():
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.is_waiting
        interrupts.act()
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.whole():
        assert not interrupts.is_waiting
        interrupts.act()  # the signal reached another process


def test_other_threads_leave_the_handlers_alone() -> None:
    handlers = []

    def work() -> None:
        with Interrupts() as interrupts, interrupts.whole():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
