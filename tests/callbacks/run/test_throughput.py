import pytest
from lightning.pytorch import Callback

from callbacks.run.throughput import Throughput
from callbacks.run.throughput_file import read_throughput
from tests.callbacks.fakes import timed_model


@pytest.fixture
def timed(tiny_classifier):
    return timed_model(tiny_classifier, validation_seconds=5)


def throughput(clock, every_n_seconds=0.0):
    callback = Throughput(every_n_seconds)
    callback.clock = clock
    return callback


def test_each_epoch_has_its_time_without_validation(make_trainer, tiny_data, timed, tmp_path):
    clock, model = timed
    make_trainer(throughput(clock), max_epochs=2, num_sanity_val_steps=1).fit(model, tiny_data())
    assert (tmp_path / "throughput.csv").read_text() == "epoch,seconds,images\n1,6.000,10\n2,6.000,10\n"


def test_a_resumed_run_continues_the_file(make_trainer, tiny_data, timed, tmp_path):
    clock, model = timed
    trainer = make_trainer(throughput(clock), max_epochs=1)
    trainer.fit(model, tiny_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    for start, epochs in ((None, 2), (tmp_path / "a.ckpt", 3)):
        make_trainer(throughput(clock), max_epochs=epochs).fit(model, tiny_data(), ckpt_path=start)
        assert read_throughput(tmp_path / "throughput.csv") == ("images", [(k + 1, 6.0, 10) for k in range(epochs)])


def test_an_interrupted_fit_has_its_whole_epochs(make_trainer, tiny_data, timed, tmp_path):
    class PowerCut(Callback):
        def on_train_batch_start(self, trainer, *args):
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

    clock, model = timed
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(throughput(clock, 1000), PowerCut(), max_epochs=3).fit(model, tiny_data())
    assert [row[0] for row in read_throughput(tmp_path / "throughput.csv")[1]] == [1, 2]


def test_damaged_lines_are_left_out(tmp_path):
    path = tmp_path / "throughput.csv"
    assert read_throughput(path) == ("examples", [])
    path.write_text("epoch,seconds,sentences\n1,2.5,7\n2,x,7\n3,1.0")
    assert read_throughput(path) == ("sentences", [(1, 2.5, 7)])
