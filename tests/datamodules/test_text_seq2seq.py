"""The datamodule of texts: its batches at any world size, tokenizers, tasks of one's own, and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule

from datamodules import text_seq2seq
from datamodules.loader import evaluation_order
from datamodules.text.evaluation_texts import EvaluationTexts
from datamodules.text.preparation import Preparation
from datamodules.text.tasks import Example, MixedTasks, PairedFiles, Split, TextTask
from datamodules.text.token_table import TokenTable
from datamodules.text.tokenizer import train_tokenizer
from datamodules.text.training_pairs import Draws, Pair, TrainingPart
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from tests.datamodules.text.counting import TOKENIZER, Counting, attach, decode, make_data, numbers
from utils.batches import Seq2SeqBatch
from utils.tokenizer_files import EOS_ID

DATA = Path("../shared/data")


def target_tokens(batches: list[Seq2SeqBatch]) -> int:
    return sum(int((batch.labels != -100).sum()) for batch in batches)


# --- training ------------------------------------------------------------------------------------------------------


def test_a_training_batch_has_the_documented_fields(tokenizer_file: str) -> None:
    task = Counting()
    for batch in make_data(task, tokenizer_file).train_dataloader():
        rows, width = batch.input_ids.shape
        assert width % 4 == batch.labels.shape[1] % 4 == 0
        assert rows * (width + batch.labels.shape[1]) <= 160
        assert batch.input_ids.dtype == batch.labels.dtype == batch.index.dtype == torch.int64
        assert batch.attention_mask.dtype == torch.bool
        assert torch.equal(batch.attention_mask, batch.input_ids != 0)
        assert batch.sources == []
        assert batch.references == []
        assert batch.step_tokens == target_tokens([batch])
        for number, source, target in zip(numbers([batch]), batch.input_ids, batch.labels, strict=True):
            assert source[source != 0].tolist() == TOKENIZER.encode(f"say: {task.examples('train')[number].source}").ids
            assert target[target != -100].tolist() == TOKENIZER.encode(task.reference(number)).ids


@pytest.mark.parametrize("bpe_dropout", [0.0, 0.3])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_training_has_every_pair_once_at_any_world_size(
    tokenizer_file: str, world_size: int, bpe_dropout: float
) -> None:
    options = {"bpe_dropout": bpe_dropout, "max_source_length": 60, "max_target_length": 60}
    for epoch in (0, 1, 7):
        loaders = [
            attach(make_data(Counting(), tokenizer_file, **options), rank, world_size, epoch=epoch).train_dataloader()
            for rank in range(world_size)
        ]
        ranks = [list(loader) for loader in loaders]
        assert {len(batches) for batches in ranks} == {len(loaders[0])}
        assert sorted(numbers(batch for batches in ranks for batch in batches)) == list(range(45))
        for together in zip(*ranks, strict=True):
            assert {batch.step_tokens for batch in together} == {target_tokens(list(together))}


def test_the_order_depends_only_on_seed_and_epoch(tokenizer_file: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return numbers(attach(make_data(Counting(), tokenizer_file, seed=seed), epoch=epoch).train_dataloader())

    first = order(1, 2)
    torch.rand(3)
    assert order(1, 2) == first
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


@pytest.mark.parametrize("accumulated", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("limit", [float("inf"), 5])
def test_step_tokens_are_those_of_the_optimizer_step(tokenizer_file: str, accumulated: int, limit: float) -> None:
    changes = {"accumulate_grad_batches": accumulated, "num_training_batches": limit, "epoch": 1}
    ranks = [
        list(attach(make_data(Counting(), tokenizer_file, batch_tokens=60), rank, 2, **changes).train_dataloader())
        for rank in range(2)
    ]
    done = int(min(limit, len(ranks[0])))
    assert len(ranks[0]) > 5
    assert done % 3 or done % 2  # one of the last groups is shorter
    for first in range(0, done, accumulated):
        group = [batch for batches in ranks for batch in batches[first : min(first + accumulated, done)]]
        assert {batch.step_tokens for batch in group} == {target_tokens(group)}


@pytest.mark.parametrize("world_size", [1, 3])
def test_tasks_are_mixed_by_weight(tmp_path: Path, world_size: int) -> None:
    mixed = MixedTasks([Counting(20, "a: "), Counting(30, "b: ", 0.5), Counting(10, "c: ", 2.0)])
    tokenizer = train_tokenizer([f"{letter}: {number} x" for letter in "abc" for number in range(99)], 420, "bpe", 0)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counts: Counter[str] = Counter()
    for epoch in range(2):
        for rank in range(world_size):
            module = attach(make_data(mixed, str(tmp_path), max_source_length=30), rank, world_size, epoch=epoch)
            for batch in module.train_dataloader():
                for row in batch.input_ids:
                    letter, _, number, *_ = tokenizer.decode(row.tolist()).replace(":", " :").split()
                    counts[f"{letter}{number}"] += 1
    expected = {f"a{n}": 2 for n in range(20)} | {f"b{n}": 1 for n in range(30)} | {f"c{n}": 4 for n in range(10)}
    assert counts == expected


@pytest.mark.filterwarnings("ignore:.*exceed data.max")
def test_bpe_dropout_changes_the_tokens_in_each_pass_over_the_data(tokenizer_file: str) -> None:
    task = Counting(20, weight=0.5)  # two epochs are one pass
    options: dict[str, Any] = {"bpe_dropout": 0.4, "max_source_length": 16, "max_target_length": 16}
    module = make_data(task, tokenizer_file, **options)

    def rows(epoch: int) -> dict[int, list[int]]:
        batches = list(attach(module, epoch=epoch).train_dataloader())
        for batch in batches:
            assert batch.input_ids.shape[1] <= 16
            assert batch.labels.shape[1] <= 16
            assert batch.step_tokens == target_tokens([batch])
            assert all(EOS_ID in row.tolist() for row in batch.labels)
        sources = [row[row != 0].tolist() for batch in batches for row in batch.input_ids]
        return dict(zip(numbers(batches), sources, strict=True))

    halves = [rows(epoch) for epoch in range(4)]
    first, second = halves[0] | halves[1], halves[2] | halves[3]
    assert sorted(first) == sorted(second) == list(range(20))
    assert sum(first[number] != second[number] for number in range(20)) > 10
    assert rows(1) == halves[1]


# --- evaluation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 45])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_7929_evaluation_has_every_example_once_at_any_world_size(
    tokenizer_file: str, size: int, world_size: int, name: str
) -> None:
    task = Counting(size, references=2)
    modules = [attach(make_data(task, tokenizer_file), rank, world_size) for rank in range(world_size)]
    loaders = [getattr(module, name)() for module in modules]
    assert len({len(loader) for loader in loaders}) == 1
    alone = [batch.index.tolist() for batch in getattr(make_data(task, tokenizer_file), name)()]
    dealt = [batch.index.tolist() for batches in zip(*loaders, strict=True) for batch in batches]
    assert dealt == alone + [[]] * (len(dealt) - len(alone))
    seen = []
    for batches in map(list, loaders):
        widths = [batch.input_ids.shape[1] for batch in batches]
        assert widths == sorted(widths, reverse=True)
        for batch in batches:
            assert batch.step_tokens == 0
            assert len(batch.sources) == len(batch.index) == len(batch.input_ids)
            assert numbers([batch]) == batch.index.tolist() == [int(text.split()[0]) for text in batch.sources]
            if name == "predict_dataloader":
                assert batch.labels.shape == (len(batch.index), 0)
                assert batch.references == []
            else:
                expected = [task.examples("val")[number].references for number in batch.index.tolist()]
                assert batch.references == expected
                assert [decode(row) for row in batch.labels] == [references[0] for references in expected]
            seen += batch.index.tolist()
    assert sorted(seen) == list(range(size))


def test_validation_has_the_tasks_in_turn_and_a_test_one_after_the_other(tokenizer_file: str) -> None:
    mixed = MixedTasks([Counting(2, "a: "), Counting(4, "b: ")])

    def order(loader: Any) -> list[str]:
        places = {
            int(place): f"{decode(row)[0]}{source.split()[0]}"
            for batch in loader
            for place, source, row in zip(batch.index, batch.sources, batch.input_ids, strict=True)
        }
        return [places[place] for place in range(6)]

    module = make_data(mixed, tokenizer_file)
    assert order(module.val_dataloader()) == ["a0", "b0", "a1", "b1", "b2", "b3"]
    assert order(module.test_dataloader()) == ["a0", "a1", "b0", "b1", "b2", "b3"]


@pytest.mark.parametrize(("name", "limit"), [("val_dataloader", "limit_val"), ("test_dataloader", "limit_test")])
def test_a_limited_evaluation_begins_with_batches_of_all_lengths(tokenizer_file: str, name: str, limit: str) -> None:
    module = make_data(Counting(300), tokenizer_file)
    whole = [batch.sources for batch in getattr(module, name)()]
    attach(module, **{f"{limit}_batches": 2})
    order = evaluation_order(len(whole), "val" if limit == "limit_val" else "test", module.trainer).tolist()
    assert order != list(range(len(whole)))
    assert [batch.sources for batch in getattr(module, name)()] == [whole[place] for place in order]


def test_a_limited_validation_has_the_examples_that_it_generates_text_for(tokenizer_file: str) -> None:
    module = attach(make_data(Counting(200), tokenizer_file), limit_val_batches=2)
    numbers = torch.cat([batch.index for batch in module.val_dataloader()])
    assert numbers.tolist() == list(range(len(numbers)))
    whole = torch.cat([batch.index for batch in attach(module, limit_val_batches=1.0).val_dataloader()])
    assert whole.tolist() != sorted(whole.tolist()) == list(range(len(numbers)))


def test_a_tokenizer_of_very_many_examples_is_trained_on_every_nth(monkeypatch: pytest.MonkeyPatch) -> None:
    task = MixedTasks([Counting(30, "a: "), Counting(15, "b: ")])
    module = make_data(task, None)
    everything = [text for part in task.parts() for text in part.tokenizer_texts(part.examples("train"))]
    assert module._tokenizer_texts() == everything
    monkeypatch.setattr(text_seq2seq, "MOST_TO_TRAIN_A_TOKENIZER", 20)  # ten of each task
    some = [
        text
        for part, step in zip(task.parts(), (4, 2), strict=True)
        for text in part.tokenizer_texts(part.examples("train")[::step])
    ]
    assert module._tokenizer_texts() == some


class Short(LightningModule):
    """A model that generates texts of at most three tokens."""

    max_length = 3


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_targets_that_the_model_cannot_generate_are_counted_by_split(tokenizer_file: str, split: str) -> None:
    task = Counting(20)
    lengths = [len(TOKENIZER.encode(task.reference(number)).ids) for number in range(20)]
    long = sum(length > 3 for length in lengths)
    assert long > 0
    module = attach(make_data(task, tokenizer_file), lightning_module=Short())
    with pytest.warns(UserWarning, match=rf"^{split}: {long} of 20 targets exceed model.max_length 3, "):
        getattr(module, f"{split}_dataloader")()


# --- a task with its own preparation -------------------------------------------------------------------------------


class Echo(TextTask):
    """A task outside the package that prepares its own texts: ids alone, the target the source backwards."""

    def examples(self, split: Split) -> list[Example]:
        return [Example(str(number), ()) for number in range(7)]

    def training_part(self, examples: Sequence[Example], part: int, preparation: Preparation) -> TrainingPart:
        return EchoPart(preparation.max_source_length)

    def evaluation_texts(self, examples: Sequence[Example], split: Split, preparation: Preparation) -> EvaluationTexts:
        ids = TokenTable.of([[300 + number, EOS_ID] for number in range(3)])
        return EvaluationTexts(ids, ids, ["a", "b", "c"], [(split,)] * 3, np.arange(3))


class EchoPart(TrainingPart):
    weight = 2.0

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def __len__(self) -> int:
        return 7

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(draws.positions), self.max_length), np.full(len(draws.positions), 3)

    def pair(self, cycle: int, position: int) -> Pair:
        return np.full(self.max_length, 300 + position), np.array([cycle, position, EOS_ID])


def test_a_new_task_with_its_own_preparation_needs_no_change_of_the_datamodule(tokenizer_file: str) -> None:
    module = attach(make_data(MixedTasks([Counting(20), Echo()]), tokenizer_file), epoch=1)
    counting, echo = [], []
    for batch in module.train_dataloader():
        for source, target in zip(batch.input_ids, batch.labels, strict=True):
            if source[0] >= 300:
                assert source.tolist() == [int(source[0])] * 24
                echo.append(target[:3].tolist())
            else:
                counting.append(int(decode(source).split()[1]))
    assert sorted(counting) == list(range(20))
    assert sorted(echo) == [[cycle, position, EOS_ID] for cycle in (2, 3) for position in range(7)]
    for name, split in (("val_dataloader", "val"), ("test_dataloader", "test")):
        batches = list(getattr(module, name)())
        assert sum(len(batch.index) for batch in batches) == 23
        found = [
            (source, references)
            for batch in batches
            for source, references in zip(batch.sources, batch.references, strict=True)
            if source in "abc"
        ]
        assert sorted(found) == [("a", (split,)), ("b", (split,)), ("c", (split,))]


# --- errors --------------------------------------------------------------------------------------------------------


def test_missing_tokenizers_are_named(tokenizer_file: str) -> None:
    with pytest.raises(FileNotFoundError, match="tokenizer nowhere: neither a file nor a folder"):
        make_data(Counting(), "nowhere").prepare_data()
    module = attach(make_data(Counting(), None), stage="test")
    with pytest.raises(ValueError, match=r"the model has no tokenizer, and data.tokenizer is not set"):
        module.test_dataloader()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_tokens": 39}, "data.batch_tokens must be at least 40, .* one pair .* 24 .* 16, got 39"),
        ({"eval_batch_tokens": 39}, "data.eval_batch_tokens must be at least 40, .*, got 39"),
        ({"max_source_length": 1}, "data.max_source_length must be an integer of at least 2, got 1"),
        ({"max_target_length": 1}, "data.max_target_length must be an integer of at least 2, got 1"),
        ({"pad_to_multiple": 0}, "data.pad_to_multiple must be an integer of at least 1, got 0"),
        ({"seed": -1}, "data.seed must be an integer of at least 0, got -1"),
        ({"over_length": "split"}, "data.over_length must be one of 'truncate', 'drop', got 'split'"),
        ({"bpe_dropout": 1.0}, "data.bpe_dropout must be a number of at least 0 and below 1, got 1.0"),
    ],
)
def test_invalid_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_data(Counting(), None, **options)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_batches_of_multi30k_are_full_and_have_little_padding() -> None:
    files: dict[str, Any] = {
        f"{split}_{side}": str(DATA / f"multi30k/val.{language}.gz")
        for split in ("train", "val")
        for side, language in (("source", "en"), ("target", "de"))
    }
    task = PairedFiles(**files, prefix="translate English to German: ")
    module = TextSeq2SeqDataModule(task, tokenizer_model="bpe", vocab_size=1500, batch_tokens=2048, cache_dir=None)
    batches = list(module.train_dataloader())
    assert sum(len(batch.index) for batch in batches) == 1014
    size = sum(batch.input_ids.numel() + batch.labels.numel() for batch in batches)
    tokens = sum(int(batch.attention_mask.sum()) for batch in batches) + target_tokens(batches)
    assert 1 - tokens / size < 0.2
    assert size / (2048 * len(batches)) > 0.85
    (first,) = [batch for batch in module.val_dataloader() if 0 in batch.index]
    place = first.index.tolist().index(0)
    assert first.sources[place] == task.examples("val")[0].source
    kept = first.input_ids[place][first.attention_mask[place]].tolist()
    assert module.tokenizer.decode(kept) == task.prefix + first.sources[place]
    written = [(task.prefix + source, target) for source, (target,), *_ in task.examples("train")]
    assert tokens == sum(len(module.tokenizer.encode(text).ids) for pair in written for text in pair)
