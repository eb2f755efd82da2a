"""Streams of characters: what follows what, who reads which part, and what is said of a bad file."""

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from datamodules.char_text import (
    CharTextDataModule,
    encode,
    evaluation_streams,
    training_positions,
)
from datamodules.text.files import read_text

# Numbers in words: no two places of the text look alike for long.
TEXT = " ".join(f"{number * 7919 % 10007}" for number in range(400))


@pytest.fixture
def data(tmp_path: Path):
    def make(text: str | bytes = TEXT, **arguments: Any) -> CharTextDataModule:
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return CharTextDataModule(str(path), **{"sequence_length": 10, "batch_size": 4, "seed": 3, **arguments})

    return make


def standing_at(module: CharTextDataModule, epoch: int = 0, done: int = 0, rank: int = 0, world: int = 1) -> Any:
    """The datamodule with a trainer that is at this place."""
    progress = SimpleNamespace(current=SimpleNamespace(ready=done))
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        current_epoch=epoch,
        global_rank=rank,
        world_size=world,
        lightning_module=None,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )
    return module


def decode(module: CharTextDataModule, ids: torch.Tensor) -> str:
    return "".join(module.vocabulary[number] for number in ids.tolist())


def test_parts_are_the_text_in_order(data) -> None:
    module = data()
    bounds = [module.part(name) for name in ("train", "val", "test")]
    assert "".join(TEXT[begin:end] for begin, end in bounds) == TEXT
    assert [end - begin for begin, end in bounds[1:]] == [round(len(TEXT) * 0.05)] * 2
    assert module.vocabulary == " 0123456789"


@pytest.mark.parametrize("world", [1, 2])
def test_a_stream_goes_on_from_batch_to_batch_and_targets_follow(data, world) -> None:
    module = data()
    training = TEXT[slice(*module.part("train"))]
    streams = []
    for rank in range(world):
        batches = list(standing_at(module, rank=rank, world=world).train_dataloader())
        assert all(batch.characters.shape == batch.targets.shape == (4, 10) for batch in batches)
        for row in range(4):
            characters = "".join(decode(module, batch.characters[row]) for batch in batches)
            targets = "".join(decode(module, batch.targets[row]) for batch in batches)
            place = training.index(characters)
            assert targets == training[place + 1 : place + 1 + len(characters)]
            streams.append(characters)
    whole = "".join(streams)
    assert whole in training  # side by side, no character twice
    assert len(training) - len(whole) <= 4 * world * 10


def test_epochs_begin_at_drawn_places_and_a_resumed_one_in_its_middle(data) -> None:
    module = data()
    firsts = {decode(module, next(iter(standing_at(module, epoch=k).train_dataloader())).characters[0]) for k in (0, 1)}
    assert len(firsts) == 2
    whole = list(standing_at(module, epoch=1).train_dataloader())
    rest = list(standing_at(module, epoch=1, done=5).train_dataloader())
    assert len(rest) == len(whole) - 5 and len(module.train_dataloader()) == len(whole)
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(rest, whole[5:], strict=True))


def test_positions_are_a_pure_function_and_never_reach_beyond_the_text() -> None:
    for size in range(41, 90):
        for epoch in range(5):
            starts = training_positions(size, 2, 20, seed=1, epoch=epoch, rank=0, world=1)
            assert starts.min() >= 0 and starts.max() + 20 <= size - 1  # the target of the last is the text's last
            assert torch.equal(starts, training_positions(size, 2, 20, seed=1, epoch=epoch, rank=0, world=1))
    drawn = {int(training_positions(80, 2, 20, seed=1, epoch=k, rank=0, world=1).min()) for k in range(400)}
    assert drawn == set(range(40))


@pytest.mark.parametrize("streams", [1, 3, 7, 16, 50])
def test_evaluation_has_every_character_but_the_first_as_a_target_once(streams) -> None:
    for size in (2, 3, 17, 50):
        ids = torch.arange(size) + 5
        characters, targets = evaluation_streams(ids, streams)
        assert len(characters) <= streams
        there = targets >= 0
        assert torch.equal(targets[there], ids[1:]) and torch.equal(characters[there], ids[:-1])


@pytest.mark.parametrize("world", [1, 3])
def test_all_processes_together_score_the_same_streams(data, world) -> None:
    module = data(eval_batch_size=5)
    whole = TEXT[slice(*module.part("test"))]
    rows: dict[int, str] = {}
    for rank in range(world):
        batches = list(standing_at(module, rank=rank, world=world).test_dataloader())
        assert len(batches) == -(-len(whole) // (5 * 10))
        targets = torch.cat([batch.targets for batch in batches], 1)
        rows |= {rank + k * world: decode(module, row[row >= 0]) for k, row in enumerate(targets)}
    assert "".join(rows[k] for k in sorted(rows)) == whole[1:]


def test_prompts_are_lines_and_blank_ones_are_passed_over(data, tmp_path) -> None:
    (tmp_path / "prompts.txt").write_text("12 3\n\n  \n45\n")
    module = data(predict_path=str(tmp_path / "prompts.txt"))
    module.setup("predict")
    batches = list(standing_at(module).predict_dataloader())
    assert [(decode(module, ids[0]), index.tolist()) for ids, index in batches] == [("12 3", [0]), ("45", [3])]
    assert module.predict_count == 4
    parts = [list(standing_at(module, rank=rank, world=3).predict_dataloader()) for rank in range(3)]
    assert [[int(index) for _, index in part] for part in parts] == [[0], [3], []]


def test_the_models_vocabulary_comes_first(data) -> None:
    module = standing_at(data())
    module.trainer.lightning_module = SimpleNamespace(vocabulary="\n 0123456789ab")
    batch = next(iter(module.train_dataloader()))
    assert int(batch.characters.max()) <= 11
    text = "".join("\n 0123456789ab"[number] for number in batch.characters[0].tolist())
    assert text in TEXT
    module.trainer.lightning_module.vocabulary = "0123456789"
    with pytest.raises(ValueError, match=r"text.txt line 1 has the character ' ' \(U\+0020\), .* the 10 characters"):
        module.val_dataloader()


def test_python_comes_with_a_text() -> None:
    text = CharTextDataModule().text
    assert len(text) > 300_000 and "assert" in text


def test_ids_of_any_script() -> None:
    text = "aβ漢🙂 β"
    vocabulary = "".join(sorted(set(text)))
    assert "".join(vocabulary[number] for number in encode(text, vocabulary, "here").tolist()) == text
    with pytest.raises(ValueError, match=r"here line 7 has the character '🙃' \(U\+1F643\)"):
        encode("a\na🙃", "\n" + vocabulary, "here", first_line=5)


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path) -> None:
    (tmp_path / "text.txt").write_bytes("\ufeffone\r\ntwo\n".encode())
    assert read_text(str(tmp_path / "text.txt"), "data.path") == "one\ntwo\n"
    (tmp_path / "text.gz").write_bytes(gzip.compress("ä\n\nb".encode()))
    assert read_text(str(tmp_path / "text.gz"), "data.path") == "ä\n\nb"


def test_invalid_utf8_is_named_with_byte_and_line(data) -> None:
    with pytest.raises(ValueError, match=r"text.txt, line 3: no valid UTF-8 \(byte 2 of the line is 0xff") as raised:
        data(b"one\ntwo\n \xff three").setup("fit")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "text.txt is empty"),
        ("a", "no text to learn"),
        ("ab" * 18, "training part has 32 .* least 41"),
    ],
)
def test_texts_that_are_too_short(data, text, words) -> None:
    with pytest.raises(ValueError, match=words):
        data(text).setup("fit")


def test_missing_files_and_prompts(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.path: there is no file nowhere\.txt"):
        CharTextDataModule("nowhere.txt").setup("fit")
    module = CharTextDataModule("nowhere.txt", predict_path=str(tmp_path / "prompts.txt"))  # its text is not needed
    with pytest.raises(FileNotFoundError, match=r"data\.predict_path: there is no file .*prompts\.txt"):
        module.setup("predict")
    (tmp_path / "prompts.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="holds no prompt"):
        module.setup("predict")
    with pytest.raises(ValueError, match=r"--data\.predict_path"):
        CharTextDataModule().setup("predict")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sequence_length": 0}, "data.sequence_length is 0"),
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"eval_batch_size": 0}, "data.eval_batch_size is 0"),
        ({"seed": -1}, "data.seed is -1"),
        ({"validation_fraction": 0.0}, "data.validation_fraction is 0.0"),
        ({"test_fraction": 1.0}, "data.test_fraction is 1.0"),
        ({"validation_fraction": 0.6, "test_fraction": 0.4}, "nothing is left for training"),
    ],
)
def test_impossible_numbers_are_named(arguments, named) -> None:
    with pytest.raises(ValueError, match=named):
        CharTextDataModule(**arguments)
