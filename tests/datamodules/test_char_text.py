"""A text as streams of characters: what follows what, which process reads which part, and errors for bad files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from datamodules.char_text import CharTextDataModule
from tests.datamodules.trainers import fake_trainer
from utils.contracts import ProvidesCharacters

# Numbers that do not repeat: no two places of the text are the same for long.
TEXT = " ".join(f"{number * 7919 % 10007}" for number in range(400))

Make = Callable[..., CharTextDataModule]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(text: str | bytes = TEXT, **arguments: Any) -> CharTextDataModule:
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return CharTextDataModule(str(path), **{"sequence_length": 10, "batch_size": 4, "seed": 3} | arguments)

    return make


def attach(module: CharTextDataModule, rank: int = 0, world_size: int = 1, **position: Any) -> CharTextDataModule:
    module.trainer = fake_trainer(rank, world_size, **position)
    return module


def decode(module: CharTextDataModule, ids: torch.Tensor) -> str:
    return "".join(module.vocabulary[number] for number in ids.tolist())


def test_the_splits_are_the_text_in_order(make: Make) -> None:
    module = make()
    bounds = [module.part(name) for name in ("train", "val", "test")]
    assert "".join(TEXT[begin:end] for begin, end in bounds) == TEXT
    assert [end - begin for begin, end in bounds[1:]] == [round(len(TEXT) * 0.05)] * 2
    assert module.vocabulary == " 0123456789"


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_stream_continues_from_batch_to_batch_and_targets_follow_characters(make: Make, world_size: int) -> None:
    module = make()
    training = TEXT[slice(*module.part("train"))]
    streams = []
    for rank in range(world_size):
        batches = list(attach(module, rank, world_size).train_dataloader())
        assert all(batch.characters.shape == batch.targets.shape == (4, 10) for batch in batches)
        for row in range(4):
            characters = "".join(decode(module, batch.characters[row]) for batch in batches)
            targets = "".join(decode(module, batch.targets[row]) for batch in batches)
            place = training.index(characters)
            assert targets == training[place + 1 : place + 1 + len(characters)]
            streams.append(characters)
    whole = "".join(streams)
    assert whole in training  # side by side, no character twice
    assert len(training) - len(whole) <= 4 * world_size * 10


def test_epochs_start_at_different_places_and_a_resumed_one_at_its_position(make: Make) -> None:
    module = make()
    firsts = {
        decode(module, next(iter(attach(module, epoch=epoch).train_dataloader())).characters[0]) for epoch in (0, 1)
    }
    assert len(firsts) == 2
    whole = list(attach(module, epoch=1).train_dataloader())
    rest = list(attach(module, epoch=1, done=5).train_dataloader())
    assert len(rest) == len(whole) - 5
    assert len(module.train_dataloader()) == len(whole)
    assert all(torch.equal(one.targets, other.targets) for one, other in zip(rest, whole[5:], strict=True))


@pytest.mark.parametrize("world_size", [1, 3])
def test_the_first_process_scores_all_streams(make: Make, world_size: int) -> None:
    module = make(eval_batch_size=5)
    whole = TEXT[slice(*module.part("test"))]
    for rank in range(world_size):
        batches = list(attach(module, rank, world_size).test_dataloader())
        assert len(batches) == -(-len(whole) // (5 * 10))
        targets = torch.cat([batch.targets for batch in batches], 1)
        text = "".join(decode(module, row[row >= 0]) for row in targets)
        assert text == ("" if rank else whole[1:])


def test_prompts_are_lines_and_blank_ones_are_skipped(make: Make, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("12 3\n\n  \n45\n")
    module = make(predict_path=str(tmp_path / "prompts.txt"))
    module.setup("predict")
    batches = list(attach(module).predict_dataloader())
    found = [(decode(module, batch.prompt[0]), batch.index.tolist()) for batch in batches]
    assert found == [("12 3", [0]), ("45", [3])]
    assert module.predict_count == 4
    parts = [list(attach(module, rank, 3).predict_dataloader()) for rank in range(3)]
    assert [[batch.index.tolist() for batch in part] for part in parts] == [[[0]], [[3]], [[]]]


def test_the_vocabulary_of_the_model_comes_first(make: Make) -> None:
    model = SimpleNamespace(vocabulary="\n 0123456789ab")
    module = attach(make(), lightning_module=model)
    batch = next(iter(module.train_dataloader()))
    assert int(batch.characters.max()) <= 11
    text = "".join("\n 0123456789ab"[number] for number in batch.characters[0].tolist())
    assert text in TEXT
    model.vocabulary = "0123456789"
    with pytest.raises(ValueError, match=r"text.txt, line 1: .* character ' ' \(U\+0020\): .* 10 different characters"):
        module.val_dataloader()


def test_an_unknown_character_of_a_later_split_is_named_with_its_line(make: Make) -> None:
    text = "one line\n" * 200
    model = SimpleNamespace(vocabulary="\n eilno")
    module = attach(make(text[:-4] + "Z" + text[-3:]), lightning_module=model)
    with pytest.raises(ValueError, match=r"text.txt, line 200: .* character 'Z'"):
        module.test_dataloader()


def test_an_unknown_character_of_a_prompt_is_named_with_its_line(make: Make, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("12\n\n3x\n")
    module = make(predict_path=str(tmp_path / "prompts.txt"))
    with pytest.raises(ValueError, match=r"data.predict_path: .*prompts.txt, line 3: .* character 'x'"):
        module.predict_dataloader()


def test_python_comes_with_a_text() -> None:
    text = CharTextDataModule().text
    assert len(text) > 300_000
    assert "assert" in text


def test_invalid_utf8_is_named_with_byte_and_line(make: Make) -> None:
    module = make(b"one\ntwo\n \xff three")
    with pytest.raises(ValueError, match=r"text.txt, line 3: not UTF-8 \(byte 2 of the line is 0xff") as raised:
        module.setup("fit")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text.txt is empty"),
        ("a", "text.txt is too short: it needs at least 2 characters, got 1"),
        ("ab" * 18, "training part has 32 .* least 41 .*; lower data.batch_size or data.sequence_length, or use"),
    ],
)
def test_texts_that_are_too_short_are_named(make: Make, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(text).setup("fit")


def test_a_text_that_is_too_short_for_all_processes_is_named(make: Make) -> None:
    attach(make("ab" * 36)).setup("fit")
    with pytest.raises(ValueError, match=r"training part has 64 characters, but at least 81 are needed; lower"):
        attach(make("ab" * 36), world_size=2).setup("fit")  # 2 processes x 4 streams x 10 characters + 1 target


def test_a_validation_part_that_is_too_short_is_named(make: Make) -> None:
    with pytest.raises(ValueError, match=r"validation part has 1 characters, but at least 2 are needed; use a longer"):
        make("ab" * 50, validation_fraction=0.01).setup("fit")


def test_missing_files_and_prompts_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.path: the file nowhere\.txt does not exist"):
        CharTextDataModule("nowhere.txt").setup("fit")
    module = CharTextDataModule("nowhere.txt", predict_path=str(tmp_path / "prompts.txt"))  # the text is not needed
    with pytest.raises(FileNotFoundError, match=r"data\.predict_path: the file .*prompts\.txt does not exist"):
        module.setup("predict")
    (tmp_path / "prompts.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match=r"prompts\.txt has no prompt"):
        module.setup("predict")
    with pytest.raises(ValueError, match=r"pass --data\.predict_path"):
        CharTextDataModule().setup("predict")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 0}, "data.sequence_length must be an integer of at least 1, got 0"),
        ({"batch_size": 0}, "data.batch_size must be an integer of at least 1, got 0"),
        ({"eval_batch_size": 0}, "data.eval_batch_size must be an integer of at least 1, got 0"),
        ({"seed": -1}, "data.seed must be an integer of at least 0, got -1"),
        ({"validation_fraction": 0.0}, "data.validation_fraction must be a number above 0 and below 1, got 0.0"),
        ({"test_fraction": 1.0}, "data.test_fraction must be a number above 0 and below 1, got 1.0"),
        ({"validation_fraction": 0.6, "test_fraction": 0.4}, "must add up to less than 1 .*, got 0.6 and 0.4"),
    ],
)
def test_invalid_numbers_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CharTextDataModule(**arguments)  # type: ignore[arg-type]


def test_prompts_come_from_a_pipe_or_the_column_of_a_table(make: Make, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"12\n\n3 4\n")
    os.close(writing)
    (tmp_path / "x.csv").write_text('id,prompt\n1,12\n2,\n3,"3 4"\n')
    for path in (f"/dev/fd/{reading}", str(tmp_path / "x.csv")):
        module = attach(make(predict_path=path), stage="predict")
        module.prepare_data()
        module.setup("predict")
        batches = list(module.predict_dataloader())
        assert [(int(index), decode(module, prompt[0])) for prompt, index in batches] == [(0, "12"), (2, "3 4")]
        assert module.predict_count == 3
    os.close(reading)
    (tmp_path / "x.csv").write_text("text\n12\n")
    with pytest.raises(ValueError, match=r"x.csv, line 2: no field 'prompt'; it has 'text'; rename the column of"):
        attach(make(predict_path=str(tmp_path / "x.csv"))).setup("predict")


def test_the_characters_are_sought_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make()
    assert isinstance(module, ProvidesCharacters)
    monkeypatch.setattr(module, "_text", "read again")
    assert isinstance(module, ProvidesCharacters)
    assert module.vocabulary == " 0123456789"
