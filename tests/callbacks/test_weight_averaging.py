from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.weight_averaging import EMA, Average
from tests.operators import CountOperators

State = dict[str, Tensor]
COUNTER = "architecture.1.num_batches_tracked"


class Watch(Callback):
    """Copies the weights after every step (the raw ones) and those that validation uses."""

    def __init__(self) -> None:
        self.raw: list[State] = []
        self.validated: list[State] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.raw.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.validated.append({name: value.clone() for name, value in pl_module.state_dict().items()})


@pytest.fixture
def seeded(tiny_classifier):
    """A classifier whose dropout is a function of the step, so that a resumed run can be exact."""

    class Seeded(tiny_classifier):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            torch.manual_seed(self.trainer.global_step)

    def make(seed: int = 0) -> LightningModule:
        torch.manual_seed(seed)
        return Seeded()

    return make


@pytest.fixture
def fit(make_trainer, seeded, tiny_data):
    """Two epochs of three steps, each validated at its end."""

    def run(*callbacks: Callback, **arguments: Any) -> tuple[Watch, LightningModule, Trainer]:
        watch, module = Watch(), seeded()
        trainer = make_trainer(*callbacks, watch, **{"max_epochs": 2, "num_sanity_val_steps": 0, **arguments})
        trainer.fit(module, datamodule=tiny_data())
        return watch, module, trainer

    return run


def average_of(states: list[State], decay: float) -> State:
    """The formula of the average, in double precision; whole numbers are the current ones."""
    result = {name: value.double() for name, value in states[0].items()}
    for state in states[1:]:
        for name, value in state.items():
            mixed = decay * result[name] + (1 - decay) * value.double()
            result[name] = mixed if value.is_floating_point() else value.double()
    return result


def assert_close(mine: State, expected: State) -> None:
    assert set(mine) == set(expected)
    for name, value in mine.items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-6, msg=name)


def assert_equal(mine: State, expected: State) -> None:
    assert set(mine) == set(expected)
    assert [name for name in mine if not torch.equal(mine[name], expected[name])] == []


def last_checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_validation_uses_the_average_by_its_formula(fit):
    watch, module, _ = fit(EMA(decay=0.5))
    assert len(watch.raw) == 6
    assert len(watch.validated) == 6
    for validated, steps in ((watch.validated[0], 3), (watch.validated[-1], 6)):
        assert_close(validated, average_of(watch.raw[:steps], 0.5))
        assert not torch.equal(validated["architecture.0.weight"], watch.raw[steps - 1]["architecture.0.weight"])
    assert [int(state[COUNTER]) for state in watch.raw] == [1, 2, 3, 4, 5, 6]
    assert int(watch.validated[0][COUNTER]) == 3
    assert watch.validated[0][COUNTER].dtype == torch.int64
    assert_equal(module.state_dict(), watch.validated[-1])  # what a script does next uses the average


def test_validation_has_the_running_statistics_of_the_first_process(fit, monkeypatch):
    """They are sent to the average alone: training goes on with its own."""

    def copy(tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.fill_(7)

    monkeypatch.setattr("callbacks.weight_averaging.copy_from_first", copy)
    watch, module, _ = fit(EMA(decay=0.5))
    buffers = {name for name, _ in module.named_buffers()}
    assert COUNTER in buffers
    expected = average_of(watch.raw[:3], 0.5)
    expected |= {name: torch.full_like(expected[name], 7) for name in buffers}
    assert_close(watch.validated[0], expected)
    assert [int(state[COUNTER]) for state in watch.raw] == [1, 2, 3, 4, 5, 6]


def test_training_goes_on_from_the_raw_weights(fit):
    averaged, _, _ = fit(EMA(decay=0.9))
    plain, _, _ = fit()
    for mine, expected in zip(averaged.raw, plain.raw, strict=True):
        assert_equal(mine, expected)


def test_before_the_first_update_it_is_the_current_weights(fit, tmp_path):
    watch, _, _ = fit(EMA(decay=0.9, update_starting_at_step=4), ResumeCheckpoint(0))
    assert_equal(watch.validated[0], watch.raw[2])  # after 3 steps
    assert_close(watch.validated[-1], average_of(watch.raw[4:], 0.9))  # updated after the 5th and the 6th
    previous = torch.load(tmp_path / "checkpoints" / "previous.ckpt", weights_only=True)
    assert previous["global_step"] == 5
    assert previous["averaging_state"]["n_averaged"] == 1


def test_a_run_shorter_than_the_first_update_ends_with_its_own_weights(fit, tmp_path):
    watch, module, _ = fit(EMA(update_starting_at_step=100), ResumeCheckpoint(0))
    assert_equal(module.state_dict(), watch.raw[-1])
    checkpoint = last_checkpoint(tmp_path)
    assert_equal(checkpoint["state_dict"], watch.raw[-1])
    assert_equal(checkpoint["current_model_state"], watch.raw[-1])


def test_updates_only_every_so_many_steps(fit):
    watch, _, _ = fit(EMA(decay=0.5, update_every_n_steps=2))
    assert_close(watch.validated[-1], average_of(watch.raw[::2], 0.5))


def test_accumulated_batches_are_one_step(fit):
    watch, _, _ = fit(EMA(decay=0.5), accumulate_grad_batches=2)
    assert_close(watch.validated[-1], average_of([watch.raw[k] for k in (1, 2, 4, 5)], 0.5))


def test_every_checkpoint_has_both_the_last_one_too(fit, tmp_path):
    watch, _, _ = fit(EMA(decay=0.5), ResumeCheckpoint(0))
    checkpoint = last_checkpoint(tmp_path)  # saved when training ended
    assert_equal(checkpoint["current_model_state"], watch.raw[-1])
    assert_equal(checkpoint["state_dict"], watch.validated[-1])
    assert checkpoint["averaging_state"]["n_averaged"] == 6
    previous = torch.load(tmp_path / "checkpoints" / "previous.ckpt", weights_only=True)  # saved in mid-training
    assert_equal(previous["current_model_state"], watch.raw[4])
    assert_close(previous["state_dict"], average_of(watch.raw[:5], 0.5))


def test_an_update_takes_few_operators_and_does_not_wait_for_the_device():
    """However many tensors there are: one for weights, one for whole numbers, one for the count."""
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(4)))
    average = Average(module, torch.device("cpu"), 0.9)
    average.update_parameters(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.randn(5, 3))  # changes the statistics
    for parameter in module.parameters():
        parameter.data.add_(1)
    with CountOperators() as counted:
        average.update_parameters(module)
    assert counted.number == 3  # none of them reads a number back
    assert_close(average.module.state_dict(), average_of([before, module.state_dict()], 0.9))


def test_the_average_has_the_layout_that_the_weights_get_after_setup():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3))
    average = Average(net, torch.device("cpu"), decay=0.5)
    net.to(memory_format=torch.channels_last)
    average.update_parameters(net)
    for weight in net.parameters():
        weight.data += 2.0
    average.update_parameters(net)
    for mean, weight in zip(average.module.parameters(), net.parameters(), strict=True):
        assert mean.stride() == weight.stride()
        assert torch.allclose(mean, weight - 1.0)


def test_a_buffer_that_a_module_replaces_is_averaged():
    module = nn.Module()
    module.register_buffer("scale", torch.ones(2))
    average = Average(module, torch.device("cpu"), 0.5)
    average.update_parameters(module)
    module.scale = torch.full((2,), 3.0)
    average.update_parameters(module)
    assert average.module.scale.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("start", [0, 3, 5])
def test_a_resumed_run_is_exact(start, fit, make_trainer, seeded, tiny_data, tmp_path):
    """Stopped after 3 of 6 steps: the first update comes before the stop, right after it, and at the last step."""
    whole, _, _ = fit(EMA(decay=0.9, update_starting_at_step=start))
    fit(EMA(decay=0.9, update_starting_at_step=start), ResumeCheckpoint(0), max_epochs=1)
    resumed = Watch()
    trainer = make_trainer(EMA(decay=0.9, update_starting_at_step=start), resumed, max_epochs=2)
    trainer.fit(seeded(seed=1), datamodule=tiny_data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    for mine, expected in zip(resumed.raw, whole.raw[3:], strict=True):
        assert_equal(mine, expected)
    assert_equal(resumed.validated[-1], whole.validated[-1])


@pytest.fixture
def ended(fit, seeded, tiny_data):
    """A trainer whose run has ended, a module with other weights, and what was raw and averaged."""
    watch, _, trainer = fit(EMA(decay=0.9), ResumeCheckpoint(0))
    return watch, trainer, seeded(seed=1), tiny_data()


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_the_same_trainer_evaluates_a_checkpoint_by_its_average(stage, ended, tmp_path):
    watch, trainer, module, data = ended
    path = tmp_path / "checkpoints" / "previous.ckpt"
    getattr(trainer, stage)(module, datamodule=data, ckpt_path=path, verbose=False)
    assert_equal(module.state_dict(), torch.load(path, weights_only=True)["state_dict"])
    if stage == "validate":
        assert_equal(watch.validated[-1], module.state_dict())


def test_a_new_trainer_tests_the_average(ended, make_trainer, tmp_path):
    watch, _, module, data = ended
    path = tmp_path / "checkpoints" / "last.ckpt"
    make_trainer(EMA()).test(module, datamodule=data, ckpt_path=path, verbose=False)
    assert_close(module.state_dict(), average_of(watch.raw, 0.9))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"decay": 1.0}, "decay"), ({"decay": -0.1}, "decay"), ({"update_every_n_steps": 0}, "every")],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        EMA(**arguments)
