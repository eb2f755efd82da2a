"""Schedules against torch's own, against the papers' formulas, and by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from lightning_modules.optim.schedules import (
    Constant,
    InverseSqrt,
    MultiStep,
    OneCycle,
    RangeTest,
    WarmupCosine,
    after_warmup,
    warmup_steps,
    with_schedule,
)


def optimizer(*rates: float) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates(schedule: LRScheduler, steps: int) -> list[float]:
    """The learning rate of each of the first `steps` optimizer steps."""
    seen = []
    for _ in range(steps):
        seen.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return seen


def test_warmup_is_a_fraction_below_one_and_steps_from_one_on():
    assert warmup_steps(0.25, 8) == 2
    assert warmup_steps(0.9, 10) == 9
    assert warmup_steps(1, 8) == 1
    assert warmup_steps(3.0, 8) == 3
    assert warmup_steps(0, 1) == 0
    assert warmup_steps(0.05, 4) == 0  # the run is too short to warm up


@pytest.mark.parametrize(("warmup", "total"), [(-0.1, 10), (10, 10), (12, 10), (0.99, 10), (1, 1)])
def test_a_warmup_as_long_as_the_run_or_negative_is_named(warmup, total):
    with pytest.raises(ValueError, match="warmup"):
        WarmupCosine(optimizer(1.0), total, warmup=warmup)


def test_the_factor_counts_from_the_first_step_and_takes_over_after_the_warmup():
    factor = after_warmup(3, lambda step: 100.0 + step)
    assert [factor(step) for step in range(5)] == [1 / 3, 2 / 3, 1.0, 103.0, 104.0]
    assert after_warmup(0, lambda step: 7.0)(0) == 7.0


def trainer_of(steps: float) -> Any:
    return SimpleNamespace(estimated_stepping_batches=steps)


def test_a_schedule_is_stepped_with_the_optimizer_and_as_long_as_the_run():
    made = with_schedule(used := optimizer(1.0), lambda of, steps: OneCycle(of, steps, peak=0.0), trainer_of(4))
    assert made["optimizer"] is used
    scheduler = made["lr_scheduler"]
    assert isinstance(scheduler, dict)
    assert scheduler["interval"] == "step"
    assert rates(scheduler["scheduler"], 5) == [1.0, 0.75, 0.5, 0.25, 0.0]  # type: ignore[arg-type]


def test_a_run_without_an_end_has_no_schedule():
    with pytest.raises(ValueError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        with_schedule(optimizer(1.0), Constant, trainer_of(math.inf))


def test_constant_rises_linearly_and_stays():
    assert rates(Constant(optimizer(0.8), 8, warmup=4), 8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8])
    assert rates(Constant(optimizer(0.8), 8, warmup=0.25), 3) == pytest.approx([0.4, 0.8, 0.8])
    assert rates(Constant(optimizer(0.8), 3), 3) == [0.8, 0.8, 0.8]


def test_cosine_without_warmup_is_that_of_torch():
    for total in (1, 2, 17):
        mine = rates(WarmupCosine(optimizer(0.3), total, warmup=0, final_factor=0.1), total + 1)
        theirs = rates(CosineAnnealingLR(optimizer(0.3), T_max=total, eta_min=0.03), total + 1)
        assert mine == pytest.approx(theirs, rel=1e-12)


def test_cosine_after_warmup_by_hand():
    seen = rates(WarmupCosine(optimizer(2.0), 6, warmup=2), 7)
    by_hand = [1.0, 2.0, 2.0, *(1 + math.cos(math.pi * k / 4) for k in (1, 2, 3)), 0.0]
    assert seen == pytest.approx(by_hand, abs=1e-12)


def test_cosine_stays_at_its_end():
    schedule = WarmupCosine(optimizer(1.0), 4, warmup=0, final_factor=0.25)
    assert rates(schedule, 8)[4:] == [0.25] * 4


def test_inverse_sqrt_is_that_of_the_transformer():
    warmup, d_model = 4, 16
    seen = rates(InverseSqrt(optimizer(0.8), 100, warmup=warmup), 60)
    # Vaswani et al. 2017, equation 3, whose peak is (d_model * warmup)**-0.5
    paper = [d_model**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in range(1, 61)]
    assert seen == pytest.approx([0.8 * rate * (d_model * warmup) ** 0.5 for rate in paper], rel=1e-12)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8 * (4 / 5) ** 0.5])


def test_inverse_sqrt_without_warmup_begins_at_its_peak():
    assert rates(InverseSqrt(optimizer(1.0), 9, warmup=0), 4) == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5])


def test_one_cycle_is_that_of_torch():
    # torch reaches the end at its last step and we one step later, hence its run of one step more; its peak is
    # at pct_start * total_steps - 1
    total, peak = 20, 0.25
    mine = rates(OneCycle(optimizer(0.4), total, peak=peak, initial_factor=0.2, final_factor=0.02), total)
    torch_schedule = OneCycleLR(
        optimizer(0.4),
        max_lr=0.4,
        total_steps=total + 1,
        pct_start=(peak * total + 1) / (total + 1),
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=5,
        final_div_factor=10,
    )
    assert mine == pytest.approx(rates(torch_schedule, total), rel=1e-9)


def test_one_cycle_by_hand():
    assert rates(OneCycle(optimizer(1.0), 4, peak=0.5, initial_factor=0.5), 6) == [0.5, 0.75, 1.0, 0.5, 0.0, 0.0]
    assert rates(OneCycle(optimizer(1.0), 4, peak=0.0), 5) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert rates(OneCycle(optimizer(1.0), 1), 1) == [0.2]


def test_multi_step_is_that_of_torch():
    mine = rates(MultiStep(optimizer(0.1), 12, milestones=(0.5, 0.75), gamma=0.2), 12)
    assert mine == pytest.approx(rates(MultiStepLR(optimizer(0.1), milestones=[6, 9], gamma=0.2), 12), rel=1e-12)


def test_multi_step_with_warmup_by_hand():
    seen = rates(MultiStep(optimizer(1.0), 8, milestones=[0.5], gamma=0.5, warmup=0.25), 8)
    assert seen == [0.5, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("schedule", "arguments", "named"),
    [
        (OneCycle, {"peak": 1.0}, "peak"),
        (InverseSqrt, {"warmup": 10}, "warmup"),
        (OneCycle, {"peak": -0.1}, "peak"),
        (MultiStep, {"milestones": (0.75, 0.5)}, "milestones"),
        (MultiStep, {"milestones": (0.5, 1.0)}, "milestones"),
        (MultiStep, {"milestones": (0.0,)}, "milestones"),
        (MultiStep, {"warmup": 10}, "warmup"),
        (Constant, {"warmup": -1}, "warmup"),
    ],
)
def test_an_argument_out_of_range_is_named(schedule, arguments, named):
    with pytest.raises(ValueError, match=named):
        schedule(optimizer(1.0), 10, **arguments)


@pytest.mark.parametrize("schedule", [Constant, WarmupCosine, InverseSqrt, OneCycle, MultiStep])
def test_every_group_keeps_its_share(schedule):
    made = schedule(optimizer(1.0, 0.1), 10)
    for _ in range(10):
        large, small = (group["lr"] for group in made.optimizer.param_groups)
        assert small == pytest.approx(0.1 * large)
        made.optimizer.step()
        made.step()


@pytest.mark.parametrize("schedule", [Constant, WarmupCosine, InverseSqrt, OneCycle, MultiStep])
def test_a_schedule_resumes_from_its_state(schedule):
    whole, first, second = (schedule(optimizer(0.7), 10) for _ in range(3))
    expected = rates(whole, 10)
    assert rates(first, 4) == expected[:4]
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 6) == expected[4:]


def test_the_rates_of_a_range_test_rise_by_the_same_factor_at_each_step_and_for_all_groups():
    both = optimizer(0.5, 2.0)
    seen = rates(RangeTest(both, 101, lowest=1e-2, highest=1.0), 101)
    assert seen == pytest.approx([0.5 * 10 ** (-2 + step / 50) for step in range(101)])
    again = optimizer(0.5, 2.0)
    RangeTest(again, 101, lowest=0.25)
    assert [group["lr"] for group in again.param_groups] == [0.125, 0.5]
    for lowest, highest in ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="lowest must be above 0 and below highest"):
            RangeTest(optimizer(1.0), 10, lowest=lowest, highest=highest)
