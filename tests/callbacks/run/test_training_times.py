import pytest
from lightning.pytorch import Callback

from callbacks.run.summary import Summary
from callbacks.run.throughput_file import read_throughput
from callbacks.run.training_times import TrainingTimes
from tests.callbacks.fakes import timed_model


@pytest.fixture
def timed(tiny_classifier):
    return timed_model(tiny_classifier, validation_seconds=5)


def summary(clock):
    callback = Summary()
    callback.times.clock = clock
    return callback


def test_each_epoch_has_its_time_without_validation(make_trainer, tiny_data, timed, tmp_path):
    clock, model = timed
    make_trainer(summary(clock), max_epochs=2, num_sanity_val_steps=1).fit(model, tiny_data())
    assert (tmp_path / "throughput.csv").read_text() == "epoch,seconds,images\n1,6.000,10\n2,6.000,10\n"


def test_a_resumed_run_continues_the_file_and_another_run_begins_it(make_trainer, tiny_data, timed, tmp_path):
    clock, model = timed
    trainer = make_trainer(summary(clock), max_epochs=1)
    trainer.fit(model, tiny_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    for start, epochs in ((None, 2), (tmp_path / "a.ckpt", 3)):
        clock.now += 5000
        make_trainer(summary(clock), max_epochs=epochs).fit(model, tiny_data(), ckpt_path=start)
        assert read_throughput(tmp_path / "throughput.csv") == ("images", [(k + 1, 6.0, 10) for k in range(epochs)])


def test_an_epoch_in_two_sessions_has_the_time_and_the_examples_of_both(make_trainer, tiny_data, timed, tmp_path):
    class PowerCut(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "a.ckpt")
            if trainer.global_step == 5:
                raise RuntimeError("power cut")

    clock, model = timed
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(summary(clock), PowerCut(), max_epochs=2).fit(model, tiny_data())
    clock.now += 5000
    make_trainer(summary(clock), max_epochs=2).fit(model, tiny_data(), ckpt_path=tmp_path / "a.ckpt")
    # 4 images before, 8 of two batches after, since this loader starts again; 2 s per batch
    assert read_throughput(tmp_path / "throughput.csv")[1] == [(1, 6.0, 10), (2, 6.0, 12)]


@pytest.mark.parametrize(("every_n_seconds", "written_in_epoch_3"), [(0.0, [1, 2]), (1000.0, [1])])
def test_an_interrupted_fit_has_its_whole_epochs(
    make_trainer, tiny_data, timed, tmp_path, monkeypatch, every_n_seconds, written_in_epoch_3
):
    def epochs():
        return [row[0] for row in read_throughput(tmp_path / "throughput.csv")[1]]

    class PowerCut(Callback):
        def on_train_batch_start(self, trainer, *args):
            if trainer.current_epoch == 2:
                assert epochs() == written_in_epoch_3
                raise RuntimeError("power cut")

    monkeypatch.setattr("callbacks.run.summary.EPOCHS_EVERY", every_n_seconds)
    clock, model = timed
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(summary(clock), PowerCut(), max_epochs=3).fit(model, tiny_data())
    assert epochs() == [1, 2]


def test_a_validation_in_which_a_run_is_stopped_is_not_training():
    times, now = TrainingTimes(), iter([0.0, 10.0, 25.0])
    times.clock = lambda: next(now)
    times.start()
    times.start_validation()
    state = times.state_dict()
    assert (state["seconds"], state["validation_seconds"]) == (25.0, 15.0)
