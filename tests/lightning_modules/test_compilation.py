"""Compiled networks: which modes there are, and, with the real compiler, names, checkpoints and a resume to the bit."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import LightningModule, Trainer

from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.weight_averaging import EMA
from lightning_modules.compilation import begin_step, compile_mode
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.text_seq2seq import TextSeq2Seq
from tests.lightning_modules import image_fakes as images
from tests.lightning_modules import text_fakes as texts
from tests.lightning_modules.helpers import quiet_trainer

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler on the CPU"
)


@pytest.mark.parametrize(("value", "mode"), [(True, "default"), (False, "none"), ("max-autotune", "max-autotune")])
def test_older_configs_say_true_or_false(value, mode):
    assert compile_mode(value) == mode
    assert images.classifier(compile_network=value).compile_network == mode
    assert texts.seq2seq(compile_network=value).compile_network == mode


@pytest.mark.parametrize(("text", "value"), [("none", "none"), ("reduce-overhead", "reduce-overhead"), ("true", True)])
@pytest.mark.parametrize("module", [ImageClassifier, TextSeq2Seq])
def test_a_config_may_say_either(module, text, value):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(module, "model", skip={"architecture", "optimizer", "schedule"})
    assert parser.parse_args([f"--model.compile_network={text}"]).model.compile_network == value
    with pytest.raises(ArgumentError, match="compile_network"):
        parser.parse_args(["--model.compile_network=fast"])


@pytest.mark.parametrize("value", ["fast", 1, None])
def test_another_mode_is_refused(value):
    with pytest.raises(ValueError, match=r"^model\.compile_network must be one of 'none', 'default'"):
        images.classifier(compile_network=value)


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_graphs_with_accumulated_gradients_are_refused(mode, trainer):
    with pytest.raises(ValueError, match=r"accumulate_grad_batches 2: .* pass --model\.compile_network default"):
        trainer(accumulate_grad_batches=2).fit(images.classifier(compile_network=mode), datamodule=images.Data())


def test_graphs_may_reuse_memory_once_per_batch(monkeypatch):
    """A second mark within a batch would free what an encoder computed before its decoder has read it."""
    marks: list[int] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    for mode in ("none", "default", "reduce-overhead", "max-autotune"):
        begin_step(mode)
    assert len(marks) == 2
    model = images.classifier(compile_network="reduce-overhead")
    model._trainer = quiet_trainer(".")
    model.on_train_batch_start(None, 0)
    model.on_validation_batch_start(None, 0)
    assert len(marks) == 4


@pytest.mark.parametrize("make", [images.classifier, texts.seq2seq])
def test_only_a_fit_compiles(make, trainer):
    """A test or a prediction of a few batches would wait for the compiler, or need one where there is none."""
    model = make(compile_network="default")
    model._trainer = trainer()
    for stage in ("validate", "test", "predict"):
        model.setup(stage)
    assert [name for name, module in model.named_modules() if module._compiled_call_impl is not None] == []


def of_images(**arguments: Any) -> tuple[LightningModule, Any]:
    return images.classifier(**arguments), images.Data(count=32)


def of_texts(**arguments: Any) -> tuple[LightningModule, Any]:
    return texts.seq2seq(**arguments, validation_examples=0), texts.Data(sizes=[4, 4])


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("make", [of_images, of_texts])
def test_a_compiled_run_is_exact_when_resumed_and_evaluated_anywhere(make, tmp_path):
    def fit(folder: str, epochs: int, checkpoint: Path | None = None, mode: str = "default") -> tuple[Any, Trainer]:
        model, data = make(compile_network=mode)
        (tmp_path / folder).mkdir(exist_ok=True)
        trained = quiet_trainer(tmp_path / folder, max_epochs=epochs, callbacks=[EMA(0.5), ResumeCheckpoint(0)])
        trained.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=False)
        return model, trained

    whole, _ = fit("whole", 2)
    plain, _ = fit("plain", 2, mode="none")
    fit("half", 1)
    resumed, _ = fit("half", 2, tmp_path / "half" / "checkpoints" / "last.ckpt")
    assert list(whole.state_dict()) == list(plain.state_dict())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-3, atol=1e-4, msg=name)

    saved = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=False)
    assert list(saved["state_dict"]) == list(plain.state_dict())
    model, data = make(compile_network="default")
    torch.compiler.reset()
    with torch.compiler.set_stance("fail_on_recompile"):  # evaluated without the compiler
        figures = quiet_trainer(tmp_path).test(
            model, data, tmp_path / "whole" / "checkpoints" / "last.ckpt", verbose=False, weights_only=False
        )
    expected = quiet_trainer(tmp_path).test(whole, data, verbose=False)
    assert figures[0].keys() == expected[0].keys()
    for name, value in figures[0].items():
        assert value == pytest.approx(expected[0][name], rel=1e-4, abs=1e-6), name
