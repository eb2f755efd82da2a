"""The fit and the bare loop do the same work, to the rounding of a fused step, and take turns."""

import pytest
import torch

from benchmarks.bare_loop import COMPARED, TURN, check, run


def test_other_losses_are_not_the_same_work():
    losses = [torch.tensor(2.0)] * TURN
    assert check({"fit": losses, "bare loop": losses}).endswith("equal to 0.0e+00")
    with pytest.raises(ValueError, match="not the same work"):
        check({"fit": losses, "bare loop": [*losses[: COMPARED - 1], torch.tensor(2.1)]})
    with pytest.raises(ValueError, match="not the same work"):
        check({"fit": losses, "bare loop": [torch.tensor(float("nan"))] * TURN})


@pytest.mark.slow
def test_both_train_alike():
    turns = run(torch.device("cpu"), rounds=1, batch_size=4, seconds=300)
    assert {name: len(times) for name, times in turns.times.items()} == {"fit": 2, "bare loop": 2}
    check(turns.losses)
