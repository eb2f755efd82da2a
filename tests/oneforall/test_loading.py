"""`load` takes a run folder or a checkpoint, passes the gate, and says what a model is not for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from architectures.char_rnn import CharRNN
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.training_module import TrainingModule
from oneforall import ImageModel, TextModel, load


def test_a_run_folder_stands_for_its_best_checkpoint(image_run: Path, classifier: ImageModel) -> None:
    best = image_run / "checkpoints" / "best.ckpt"
    assert classifier.path == str(best)
    assert not classifier.module.training
    saved = torch.load(best, weights_only=True)["state_dict"]
    for model in (classifier, load(best), load(str(best), trust_checkpoint=True)):
        assert all(torch.equal(value, saved[name]) for name, value in model.module.state_dict().items())


def test_a_text_model_knows_how_its_texts_were_prepared(text_run: Path, translator: TextModel) -> None:
    for model in (translator, load(text_run, trust_checkpoint=True)):
        assert isinstance(model, TextModel)
        assert list(model.prefixes) == ["date: "]
        assert model.max_source_length == 32


def test_a_model_of_the_other_kind_says_what_it_is_for(classifier: ImageModel, translator: TextModel) -> None:
    with pytest.raises(ValueError, match=r"best\.ckpt holds an image classifier.*: use predict"):
        classifier.translate("a")
    with pytest.raises(ValueError, match=r"best\.ckpt holds a model for text.*: use translate"):
        translator.predict("a.png")


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"without checkpoints/best\.ckpt"):
        load(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "meta", "meta:x", "cuda:99"])
def test_a_device_that_is_not_there_is_named(image_run: Path, device: str) -> None:
    with pytest.raises(ValueError, match=rf"device {device} cannot be used here \(.+\); choose another, such as cpu"):
        load(image_run, device)


def poisoned(run: Path, path: Path, trap: Path, where: str) -> Path:
    """Write the checkpoint of a run with a class in its model or data that would make a file."""
    content: dict[str, Any] = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    attack = {"class_path": "os.system", "init_args": {"command": f"touch {trap}"}}
    arguments = content["config"][where]["init_args"]
    arguments["architecture" if where == "model" else "task"] = attack
    torch.save(content, path)
    return path


@pytest.mark.parametrize("where", ["model", "data"])
def test_a_checkpoint_of_a_stranger_runs_nothing(text_run: Path, tmp_path: Path, where: str) -> None:
    path = poisoned(text_run, tmp_path / "theirs.ckpt", tmp_path / "trap", where)
    with pytest.raises(ValueError, match=r"is refused: .*os\.system.*trust_checkpoint=True"):
        load(path)
    assert not (tmp_path / "trap").exists()


def test_a_character_model_is_left_to_predict(image_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = CharLanguageModel(CharRNN(vocab_size=4, hidden_size=4))
    monkeypatch.setattr(TrainingModule, "load_from_checkpoint", lambda *args, **options: module)
    with pytest.raises(
        ValueError, match=r"holds CharLanguageModel: use `oneforall predict`.*`export` are for ImageClassifier and"
    ):
        load(image_run)
