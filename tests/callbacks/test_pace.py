import math

import pytest
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from callbacks.pace import Pace, fit_batches, format_throughput, format_time_left
from tests.callbacks.fakes import Endless, FakeClock


def test_throughput_and_time_left_of_a_steady_and_of_a_changing_pace():
    clock = FakeClock()
    pace = Pace(clock)
    assert pace.examples_per_second is None
    assert pace.seconds_left is None
    for done in range(1, 4):
        clock.now += 2
        pace.batch(100, done, 10)
    assert pace.examples_per_second == pytest.approx(50)
    assert pace.seconds_left == pytest.approx(7 * 2)
    clock.now += 500
    pace.skip()  # a validation does not lower the throughput
    clock.now += 10
    pace.batch(100, 4, 10)
    # 100, 100, 100 in 2 s each, 14, 12 and 10 s ago, with a half-life of 10 s; then 100 in 10 s
    weights = [0.5 ** (age / 10) for age in (14, 12, 10)]
    assert pace.examples_per_second == pytest.approx((100 * sum(weights) + 100) / (2 * sum(weights) + 10))
    assert pace.seconds_left == pytest.approx(6 * (2 * 2 + 500 + 10) / 3)  # but counts in the time left


def test_a_resumed_run_counts_only_its_own_batches():
    clock = FakeClock()
    pace = Pace(clock)
    pace.batch(8, 501, 600)
    clock.now += 3
    pace.batch(8, 502, 600)
    assert pace.seconds_left == pytest.approx(98 * 3)
    pace.batch(8, 503, math.inf)
    assert pace.seconds_left is None


def pace_of(examples: int, seconds: float, total: float = 2) -> Pace:
    """A pace of `examples` per batch of `seconds`, after the second batch."""
    clock = FakeClock()
    pace = Pace(clock)
    for done in (1, 2):
        clock.now += seconds
        pace.batch(examples, done, total)
    return pace


@pytest.mark.parametrize(
    ("examples", "seconds", "text"),
    [(920, 2, "460 images/s"), (3_000_000, 2, "1,500,000 images/s"), (20, 2, "10 images/s"), (19, 2, "9.5 images/s")],
)
def test_a_throughput_is_short(examples, seconds, text):
    assert format_throughput(pace_of(examples, seconds), "images") == text
    assert format_throughput(Pace(), "images") == ""


@pytest.mark.parametrize(
    ("batches", "text"),
    [(0, "0:00 left"), (754, "12:34 left"), (3723, "1:02:03 left"), (36000, "10:00:00 left"), (math.inf, "")],
)
def test_the_time_left_has_minutes_and_seconds_and_hours_if_any(batches, text):
    assert format_time_left(pace_of(1, 1.0, total=2 + batches)) == text
    assert format_time_left(Pace()) == ""


class Watch(Callback):
    """Remembers the batches done and in all, after each batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(fit_batches(trainer, batch_idx))


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({"max_epochs": 4}, 12),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, 12),
        # An epoch of 3 batches is 2 steps, the second of one batch: the fifth step ends with batch 2 of epoch 3
        ({"max_epochs": -1, "max_steps": 5, "accumulate_grad_batches": 2}, 8),
        ({"max_epochs": 4, "max_steps": 100}, 12),
    ],
)
def test_the_number_of_batches_is_reached_exactly_at_the_end_of_a_fit(
    make_trainer, tiny_data, tiny_classifier, arguments, total
):
    watch = Watch()
    make_trainer(watch, **arguments).fit(tiny_classifier(), tiny_data())
    assert watch.seen == [(done, total) for done in range(1, total + 1)]


def test_batches_of_a_fit_resumed_in_mid_epoch(make_trainer, tiny_data, tiny_classifier, tmp_path):
    class SaveAtStep4(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    make_trainer(SaveAtStep4(), max_epochs=2).fit(tiny_classifier(), tiny_data())
    watch = Watch()
    trainer = make_trainer(watch, max_epochs=3)
    trainer.fit(tiny_classifier(), tiny_data(), ckpt_path=str(tmp_path / "a.ckpt"))
    assert watch.seen == [(5, 9), (6, 9), (7, 9), (8, 9), (9, 9)]


@pytest.mark.parametrize(("accumulated", "total"), [(1, 3), (2, 6)])
def test_batches_of_a_fit_without_epochs_of_known_length(make_trainer, tiny_classifier, accumulated, total):
    watch = Watch()
    trainer = make_trainer(watch, max_epochs=-1, max_steps=3, accumulate_grad_batches=accumulated)
    trainer.fit(tiny_classifier(), DataLoader(Endless(), batch_size=4))
    assert watch.seen == [(done, total) for done in range(1, total + 1)]
