"""The datamodule of texts, alone and under a real Trainer."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.predictions.text_predictions import TextPredictions
from datamodules.text.span_corruption import SpanCorruption
from datamodules.text.tasks import Example, MixedTasks, PairedFiles, Split, TextTask
from datamodules.text.tokenizer import EOS_ID, load_tokenizer, train_tokenizer
from datamodules.text.toy_tasks import NumberTask, ReverseTask
from datamodules.text_seq2seq import Seq2SeqBatch, TextSeq2SeqDataModule

DATA = Path("../shared/data")
WORDS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905


class Counting(TextTask):
    """Sources that are their own number, so that a batch tells what it is made of, of many lengths."""

    def __init__(self, size: int = 45, prefix: str = "say: ", weight: float = 1.0, references: int = 1) -> None:
        super().__init__(prefix, weight)
        self.size = size
        self.count = references

    def examples(self, split: Split) -> list[Example]:
        return [
            Example(
                f"{number} " + "x " * (number % 11), tuple(self.reference(number, one) for one in range(self.count))
            )
            for number in range(self.size)
        ]

    def reference(self, number: int, which: int) -> str:
        return " ".join([*[WORDS[which]] * (which + 1), *(WORDS[int(digit)] for digit in str(number))])


TOKENIZER = train_tokenizer(
    [text for number in range(200) for text in (f"say: {number} x", Counting().reference(number, 0))], 420, "bpe", 20
)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = str(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    TOKENIZER.save(file)
    return file


def make(task: TextTask, tokenizer: str | None, **options: Any) -> TextSeq2SeqDataModule:
    defaults: dict[str, Any] = {
        "max_source_length": 24,
        "max_target_length": 16,
        "batch_tokens": 160,
        "eval_batch_tokens": 120,
        "cache_dir": None,
        "seed": 5,
    }
    return TextSeq2SeqDataModule(task, tokenizer, **defaults | options)


def as_rank(module: TextSeq2SeqDataModule, rank: int, world: int, epoch: int = 0, **changes: Any) -> Any:
    progress = SimpleNamespace(current=SimpleNamespace(ready=0))
    trainer = {
        "global_rank": rank,
        "world_size": world,
        "current_epoch": epoch,
        "accumulate_grad_batches": 1,
        "num_training_batches": float("inf"),
        "default_root_dir": "no/such/folder",
        "lightning_module": None,
        "state": SimpleNamespace(fn=None),
        "fit_loop": SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    }
    module.trainer = SimpleNamespace(**trainer | changes)  # type: ignore[assignment]
    return module


def texts(ids: Tensor) -> list[str]:
    return [TOKENIZER.decode(row.clamp(min=0).tolist()) for row in ids]


def numbers(batches: list[Seq2SeqBatch]) -> list[int]:
    return [int(text.split()[1]) for batch in batches for text in texts(batch.input_ids.where(batch.input_ids > 2, 0))]


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_batch_is_what_it_says(tokenizer_file: str) -> None:
    task = Counting()
    for batch in make(task, tokenizer_file).train_dataloader():
        rows, width = batch.input_ids.shape
        assert width % 4 == batch.labels.shape[1] % 4 == 0 and rows * (width + batch.labels.shape[1]) <= 160
        assert batch.input_ids.dtype == batch.labels.dtype == batch.index.dtype == torch.int64
        assert batch.attention_mask.dtype == torch.bool and torch.equal(batch.attention_mask, batch.input_ids != 0)
        assert batch.sources == [] and batch.references == []
        assert batch.step_tokens == int((batch.labels != -100).sum())
        for source, target in zip(batch.input_ids, batch.labels, strict=True):
            kept, wanted = source[source != 0], target[target != -100]
            assert kept[-1] == wanted[-1] == EOS_ID and (kept[:-1] != EOS_ID).all()
            number = int(TOKENIZER.decode(kept.tolist()).removeprefix("say: ").split()[0])
            assert kept.tolist() == TOKENIZER.encode(f"say: {task.examples('train')[number].source}").ids
            assert wanted.tolist() == TOKENIZER.encode(task.reference(number, 0)).ids


@pytest.mark.parametrize("bpe_dropout", [0.0, 0.3])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_training_sees_every_pair_once_at_any_world_size(tokenizer_file: str, world: int, bpe_dropout: float) -> None:
    options = {"bpe_dropout": bpe_dropout, "max_source_length": 60, "max_target_length": 60}
    for epoch in (0, 1, 7):
        loaders = [
            as_rank(make(Counting(), tokenizer_file, **options), rank, world, epoch).train_dataloader()
            for rank in range(world)
        ]
        ranks = [list(loader) for loader in loaders]
        assert {len(batches) for batches in ranks} == {len(loaders[0])}
        assert sorted(numbers([batch for batches in ranks for batch in batches])) == list(range(45))
        for together in zip(*ranks, strict=True):
            total = sum(int((batch.labels != -100).sum()) for batch in together)
            assert {batch.step_tokens for batch in together} == {total}


def test_order_is_a_pure_function_of_seed_and_epoch(tokenizer_file: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return numbers(list(as_rank(make(Counting(), tokenizer_file, seed=seed), 0, 1, epoch).train_dataloader()))

    first = order(1, 2)
    torch.rand(3)
    assert order(1, 2) == first
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_fewer_pairs_than_processes_are_refused(tokenizer_file: str) -> None:
    with pytest.raises(ValueError, match="an epoch has 3 pairs, fewer than the 4 processes"):
        as_rank(make(Counting(3), tokenizer_file), 0, 4).train_dataloader()


@pytest.mark.parametrize("accumulated", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("limit", [float("inf"), 5])
def test_step_tokens_are_those_of_the_optimizer_step(tokenizer_file: str, accumulated: int, limit: float) -> None:
    changes = {"accumulate_grad_batches": accumulated, "num_training_batches": limit}
    ranks = [
        list(as_rank(make(Counting(), tokenizer_file, batch_tokens=60), rank, 2, 1, **changes).train_dataloader())
        for rank in range(2)
    ]
    done = int(min(limit, len(ranks[0])))
    assert len(ranks[0]) > 5 and (done % 3 or done % 2)  # one of the last groups is short
    for first in range(0, done, accumulated):
        group = [batch for batches in ranks for batch in batches[first : min(first + accumulated, done)]]
        assert {batch.step_tokens for batch in group} == {sum(int((batch.labels != -100).sum()) for batch in group)}


def test_one_of_several_references_is_drawn_in_each_epoch(tokenizer_file: str) -> None:
    module = make(Counting(references=3), tokenizer_file, batch_tokens=80)
    loader = None
    drawn: dict[int, list[str]] = {number: [] for number in range(45)}
    lengths = set()
    for epoch in range(12):
        as_rank(module, 0, 1, epoch)
        loader = loader or module.train_dataloader()
        batches = list(loader)
        lengths.add(len(batches))
        labels = [text for batch in batches for text in texts(batch.labels.where(batch.labels > 2, 0))]
        for number, label in zip(numbers(batches), labels, strict=True):
            drawn[number].append(label.split()[0])
    assert len(lengths) == 1  # the Trainer asks once
    assert all(len(labels) == 12 and set(labels) <= set(WORDS[:3]) for labels in drawn.values())
    assert sum(len(set(labels)) == 3 for labels in drawn.values()) > 40
    assert sum(Counter(label for labels in drawn.values() for label in labels).values()) == 12 * 45


@pytest.mark.parametrize("world", [1, 3])
def test_tasks_are_mixed_by_weight(tokenizer_file: str, world: int) -> None:
    mixed = MixedTasks([Counting(20, "a: "), Counting(30, "b: ", 0.5), Counting(10, "c: ", 2.0)])
    tokenizer = train_tokenizer([f"{letter}: {number} x" for letter in "abc" for number in range(99)], 420, "bpe", 0)
    counts: Counter[str] = Counter()
    for epoch in range(2):
        for rank in range(world):
            module = as_rank(make(mixed, tokenizer_file), rank, world, epoch)
            module._tokenizer = tokenizer
            for batch in module.train_dataloader():
                for row in batch.input_ids:
                    letter, _, number, *_ = tokenizer.decode(row.tolist()).replace(":", " :").split()
                    counts[f"{letter}{number}"] += 1
    expected = {f"a{n}": 2 for n in range(20)} | {f"b{n}": 1 for n in range(30)} | {f"c{n}": 4 for n in range(10)}
    assert counts == expected


def test_long_pairs_are_cut_or_dropped_and_counted(tokenizer_file: str) -> None:
    limits = {"max_source_length": 12, "max_target_length": 3}
    task = Counting()
    encoded = [TOKENIZER.encode(f"say: {example.source}").ids for example in task.examples("train")]
    wanted = [TOKENIZER.encode(example.references[0]).ids for example in task.examples("train")]
    long = sum(len(ids) > 12 for ids in encoded)
    wide = sum(len(ids) > 3 for ids in wanted)
    assert long and wide
    with pytest.warns(UserWarning) as said:
        cut = list(make(task, tokenizer_file, **limits).train_dataloader())
    messages = [str(warning.message) for warning in said]
    assert f"train: {long} of 45 sources are over data.max_source_length 12 and cut" in messages
    assert f"train: {wide} of 45 targets are over data.max_target_length 3 and cut" in messages
    rows = {int(n): row for batch in cut for n, row in zip(numbers([batch]), batch.input_ids, strict=True)}
    for number, ids in enumerate(encoded):
        assert rows[number][rows[number] != 0].tolist() == (ids if len(ids) <= 12 else [*ids[:11], EOS_ID])
    assert max(int((batch.labels != -100).sum(1).max()) for batch in cut) == 3
    with pytest.warns(UserWarning, match="and dropped"):
        dropped = list(make(task, tokenizer_file, over_length="drop", **limits).train_dataloader())
    kept = [n for n in range(45) if len(encoded[n]) <= 12 and len(wanted[n]) <= 3]
    assert sorted(numbers(dropped)) == kept and 0 < len(kept) < 45
    with pytest.raises(ValueError, match="every training pair is over"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(task, tokenizer_file, over_length="drop", max_source_length=3).train_dataloader()


def test_bpe_dropout_spells_training_texts_anew_each_epoch(tokenizer_file: str) -> None:
    task = Counting(20, weight=0.5)  # two epochs go through the data once
    options: dict[str, Any] = {"bpe_dropout": 0.4, "max_source_length": 16, "max_target_length": 16}
    module = make(task, tokenizer_file, **options)

    def spelt(epoch: int) -> dict[int, list[int]]:
        batches = list(as_rank(module, 0, 1, epoch).train_dataloader())
        assert all(batch.input_ids.shape[1] <= 16 and batch.labels.shape[1] <= 16 for batch in batches)
        for batch in batches:
            assert batch.step_tokens == int((batch.labels != -100).sum())
            assert all(EOS_ID in row.tolist() for row in batch.labels)
        rows = [row[row != 0].tolist() for batch in batches for row in batch.input_ids]
        return dict(zip(numbers(batches), rows, strict=True))

    halves = [spelt(epoch) for epoch in range(4)]
    first, second = halves[0] | halves[1], halves[2] | halves[3]
    assert sorted(first) == sorted(second) == list(range(20))
    assert sum(first[number] != second[number] for number in range(20)) > 10
    assert spelt(1) == halves[1]
    plain = [TOKENIZER.encode(f"say: {example.source}").ids for example in task.examples("val")]
    (batch, *_) = make(task, tokenizer_file, **options).val_dataloader()  # evaluation has none of it
    for place, row in zip(batch.index.tolist(), batch.input_ids, strict=True):
        assert row[row != 0].tolist() == (plain[place] if len(plain[place]) <= 16 else [*plain[place][:15], EOS_ID])
    unigram = make(task, None, **options)
    unigram._tokenizer = train_tokenizer([f"say: {number} x" for number in range(99)], 400, "unigram", 0)
    with pytest.raises(ValueError, match=r"data.bpe_dropout is 0.4: it needs a plain BPE tokenizer.* is Unigram"):
        unigram.train_dataloader()


# --- span corruption -----------------------------------------------------------------------------------------------


def test_span_corruption_covers_the_text_and_is_drawn_anew(tokenizer_file: str, tmp_path: Path) -> None:
    lines = [f"say: {number} x x" for number in range(80)]
    (tmp_path / "text").write_text("\n\n".join(lines))
    task = SpanCorruption(str(tmp_path / "text"), str(tmp_path / "text"), mean_span_length=1.0)
    stream = [token for line in lines for token in TOKENIZER.encode(line).ids[:-1]]
    sentinels = [TOKENIZER.token_to_id(f"<extra_id_{number}>") for number in range(20)]
    sources = []
    module = make(task, tokenizer_file)
    for epoch in range(2):
        batches = list(as_rank(module, 0, 1, epoch).train_dataloader())
        found = []
        for batch in batches:
            for source, target in zip(batch.input_ids, batch.labels, strict=True):
                kept, taken = source[source != 0].tolist()[:-1], target[target != -100].tolist()[:-1]
                assert taken[0] in sentinels
                spans: dict[int, list[int]] = {}
                for token in taken:
                    if token in sentinels:
                        spans[token] = []
                        last = token
                    else:
                        spans[last].append(token)
                found.append([token for place in kept for token in spans.get(place, [place])])
        starts = {tuple(row[:4]) for row in found}
        assert sorted(len(row) for row in found) and len(starts) > 1
        # Segments in some order are the text: put them in the order of the text.
        text, remaining = list(stream), sorted(found, key=len, reverse=True)
        while remaining:
            fitting = next(row for row in remaining if text[: len(row)] == row)
            remaining.remove(fitting)
            text = text[len(fitting) :]
        assert len(text) <= 1
        sources.append(sorted(tuple(row.tolist()) for batch in batches for row in batch.input_ids))
    assert sources[0] != sources[1]
    for seed in (5, 6):  # scores of several runs must compare
        other = list(make(task, tokenizer_file, seed=seed).val_dataloader())
        assert other[0].references[0][0].startswith("<extra_id_0>") and "<extra_id_0>" in other[0].sources[0]
        sources.append([tuple(row.tolist()) for batch in other for row in batch.input_ids])
    assert sources[2] == sources[3]
    few = make(task, None)
    few._tokenizer = train_tokenizer(lines, 400, "bpe", 1)
    with pytest.raises(ValueError, match=r"SpanCorruption needs 4 sentinels .* has 1: set data.num_sentinels"):
        few.train_dataloader()


# --- evaluation and prediction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 45])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_evaluation_sees_every_example_once_at_any_world_size(tokenizer_file: str, size: int, world: int) -> None:
    task = Counting(size, references=2)
    for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        if size < world and name != "predict_dataloader":  # a process without any would leave the others waiting
            for rank in range(world):
                with pytest.raises(ValueError, match=rf"set has {size} examples, fewer than the {world} processes"):
                    getattr(as_rank(make(task, tokenizer_file), rank, world), name)()
            continue
        loaders = [getattr(as_rank(make(task, tokenizer_file), rank, world), name)() for rank in range(world)]
        ranks = [list(loader) for loader in loaders]
        assert len({len(loader) for loader in loaders[:size]}) == 1
        seen = []
        for batches in ranks:
            widths = [batch.input_ids.shape[1] for batch in batches]
            assert widths == sorted(widths, reverse=True)
            for batch in batches:
                assert batch.step_tokens == 0 and len(batch.sources) == len(batch.index) == len(batch.input_ids)
                assert numbers([batch]) == batch.index.tolist() == [int(text.split()[0]) for text in batch.sources]
                if name == "predict_dataloader":
                    assert batch.labels.shape == (len(batch.index), 0) and batch.references == []
                else:
                    expected = [task.examples("val")[number].references for number in batch.index.tolist()]
                    assert batch.references == expected
                    labels = texts(batch.labels.where(batch.labels > 2, 0))
                    assert labels == [references[0] for references in expected]
                seen += batch.index.tolist()
        assert sorted(seen) == list(range(size))


def test_validation_takes_tasks_in_turn_and_test_one_after_the_other(tokenizer_file: str) -> None:
    mixed = MixedTasks([Counting(2, "a: "), Counting(4, "b: ")])

    def order(loader: Any) -> list[str]:
        places = {
            int(place): f"{TOKENIZER.decode(row.tolist())[0]}{source.split()[0]}"
            for batch in loader
            for place, source, row in zip(batch.index, batch.sources, batch.input_ids, strict=True)
        }
        return [places[place] for place in range(6)]

    module = make(mixed, tokenizer_file)
    assert order(module.val_dataloader()) == ["a0", "b0", "a1", "b1", "b2", "b3"]
    assert order(module.test_dataloader()) == ["a0", "a1", "b0", "b1", "b2", "b3"]


@pytest.mark.parametrize("world", [1, 2, 7])
def test_predict_loses_no_line(tokenizer_file: str, tmp_path: Path, world: int) -> None:
    lines = ["3 x", "", "x " * 500, " \t", "😀 👩‍👩‍👧 ꙮ𐍈", "a\u2028b\x0cc\x85d", "", "9 x", ""]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    seen: dict[int, str] = {}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for rank in range(world):
            module = as_rank(make(Counting(), tokenizer_file, predict_path=str(tmp_path / "lines")), rank, world)
            for batch in module.predict_dataloader():
                for place, source, row in zip(batch.index.tolist(), batch.sources, batch.input_ids, strict=True):
                    assert place not in seen and row[row != 0][-1] == EOS_ID and len(row) <= 24
                    seen[place] = source
            assert module.predict_count == 9
    assert seen == {place: line for place, line in enumerate(lines) if line.strip()}
    cut = [
        str(warning.message) for warning in said if "are over data.max_source_length 24 and cut" in str(warning.message)
    ]
    long = sum(len(TOKENIZER.encode(f"say: {line}").ids) > 24 for line in lines)
    assert len(cut) == world and f"{long} of 5 sources" in cut[0] and long


def test_predict_takes_the_prefix_of_the_task_or_its_own(tokenizer_file: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("3 x")
    options = {"predict_path": str(tmp_path / "lines")}
    for prefix, expected in ((None, "say: 3 x"), ("tell: ", "tell: 3 x"), ("", "3 x")):
        (batch,) = make(Counting(), tokenizer_file, predict_prefix=prefix, **options).predict_dataloader()
        assert batch.input_ids[0][batch.attention_mask[0]].tolist() == TOKENIZER.encode(expected).ids
    mixed = MixedTasks([Counting(2, "a: "), Counting(4, "b: ")])
    with pytest.raises(ValueError, match=r"set data.predict_prefix to one of the tasks' prefixes: 'a: ', 'b: '"):
        make(mixed, tokenizer_file, **options).predict_dataloader()


def test_bad_input_is_named_before_anything_starts(tokenizer_file: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"a\nb\n\xfe\n")
    (tmp_path / "empty").write_bytes(b"")
    for name, message in (
        ("bad", "data.predict_path: .*bad, line 3: no valid UTF-8"),
        ("empty", "data.predict_path: .*empty is empty"),
    ):
        module = as_rank(
            make(Counting(), tokenizer_file, predict_path=str(tmp_path / name)),
            0,
            1,
            state=SimpleNamespace(fn=SimpleNamespace(value="predict")),
        )
        with pytest.raises(ValueError, match=message):
            module.prepare_data()
    with pytest.raises(FileNotFoundError, match="tokenizer nowhere: no such file"):
        make(Counting(), "nowhere").prepare_data()
    for changes, message in (
        ({"batch_tokens": 39}, "data.batch_tokens is 39: it must be at least 40"),
        ({"eval_batch_tokens": 39}, "data.eval_batch_tokens is 39: it must be at least 40"),
        ({"max_target_length": 1}, "data.max_target_length is 1"),
        ({"pad_to_multiple": 0}, "data.pad_to_multiple is 0"),
        ({"seed": -1}, "data.seed is -1"),
        ({"over_length": "split"}, "data.over_length is 'split'"),
        ({"bpe_dropout": 1.0}, "data.bpe_dropout is 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make(Counting(), tokenizer_file, **changes)
    with pytest.raises(ValueError, match=r"the model has no tokenizer and data.tokenizer is not set"):
        as_rank(make(Counting(), None), 0, 1, state=SimpleNamespace(fn=SimpleNamespace(value="test"))).test_dataloader()


# --- under a Trainer -----------------------------------------------------------------------------------------------


class Recorder(LightningModule):
    """Keeps every training batch, named by (epoch, step), and the weight that each optimizer step gave it."""

    tokenizer: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[int, int], Seq2SeqBatch] = {}
        self.validated: list[int] = []
        self.predicted: list[int] = []

    def training_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Tensor:
        assert (self.current_epoch, batch_idx) not in self.seen
        self.seen[self.current_epoch, batch_idx] = batch
        tokens = (batch.labels != -100).sum()
        return self.weight.sum() * tokens * self.trainer.accumulate_grad_batches / batch.step_tokens

    def validation_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        self.validated += batch.index.tolist()

    def predict_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        self.predicted += batch.index.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1.0)


class SaveEachStep(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, number: int
    ) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}-{number}.ckpt")


def trainer_in(folder: Path, **changes: Any) -> Trainer:
    options: dict[str, Any] = {"max_epochs": 2} | changes
    return Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


@pytest.mark.parametrize("bpe_dropout", [0.0, 0.3])
@pytest.mark.filterwarnings("error:.*mid-epoch.*", "error:.*not resumable.*", "ignore")
def test_a_run_resumed_after_any_batch_sees_the_same(tokenizer_file: str, tmp_path: Path, bpe_dropout: float) -> None:
    def module() -> TextSeq2SeqDataModule:
        return make(Counting(30, references=2), tokenizer_file, batch_tokens=100, bpe_dropout=bpe_dropout)

    batches = len(module().train_dataloader())
    accumulated = next(number for number in (3, 4, 5) if batches % number)  # the last group of an epoch is short
    whole = Recorder()
    trainer_in(tmp_path, accumulate_grad_batches=accumulated, callbacks=[SaveEachStep(tmp_path)]).fit(whole, module())
    assert sorted(whole.validated) == sorted(2 * list(range(30)))
    steps = list(whole.seen)
    assert steps == [(epoch, step) for epoch in range(2) for step in range(batches)]
    # Each optimizer step was one whole weighted mean: gradient 1.
    assert torch.allclose(whole.weight, torch.tensor(-2.0 * math.ceil(batches / accumulated)))
    for number in (0, 1, len(steps) // 2 - 1, len(steps) // 2 + 1):
        rest = Recorder()
        epoch, step = steps[number]
        trainer_in(tmp_path, accumulate_grad_batches=accumulated).fit(
            rest, module(), ckpt_path=tmp_path / f"{epoch}-{step}.ckpt", weights_only=True
        )
        assert list(rest.seen) == steps[number + 1 :]
        for key, batch in rest.seen.items():
            assert all(torch.equal(one, other) for one, other in zip(batch[:4], whole.seen[key][:4], strict=True))
            assert batch.step_tokens == whole.seen[key].step_tokens


@pytest.mark.filterwarnings("ignore")
def test_a_run_keeps_its_tokenizer(tokenizer_file: str, tmp_path: Path) -> None:
    options = {"vocab_size": 400, "tokenizer_model": "bpe", "num_sentinels": 0, "cache_dir": str(tmp_path / "cache")}
    first = make(NumberTask(30, 5, 5), None, max_source_length=60, batch_tokens=500, eval_batch_tokens=500, **options)
    trainer_in(tmp_path / "run", max_epochs=1).fit(Recorder(), first)
    kept = (tmp_path / "run/tokenizer.json").read_text()
    assert load_tokenizer(tmp_path / "run").to_str() == first.tokenizer.to_str()
    assert list((tmp_path / "cache").glob("tokens-*.npz"))
    # Going on in the same folder, whatever the config now says.
    second = make(ReverseTask(30, 5, 5), tokenizer_file, **options)
    trainer_in(tmp_path / "run", max_epochs=1).fit(Recorder(), second)
    assert second.tokenizer.to_str() == first.tokenizer.to_str()
    assert (tmp_path / "run/tokenizer.json").read_text() == kept
    # A given one is kept as well.
    third = make(Counting(), tokenizer_file)
    trainer_in(tmp_path / "other", max_epochs=1).fit(Recorder(), third)
    assert load_tokenizer(tmp_path / "other").to_str() == TOKENIZER.to_str()


@pytest.mark.filterwarnings("ignore")
def test_the_tokenizer_of_the_model_wins_outside_a_fit(tokenizer_file: str, tmp_path: Path) -> None:
    model = Recorder()
    model.tokenizer = train_tokenizer(["say: 1 x"] * 9, 300, "bpe", 0)
    trainer = trainer_in(tmp_path)
    module = make(Counting(12), tokenizer_file, max_source_length=80, eval_batch_tokens=400)
    with pytest.raises(ValueError, match=r"not the tokenizer that the model was trained with.*--data\.tokenizer null"):
        trainer.validate(model, module, verbose=False)
    moved = str(tmp_path / "no longer there.json")
    module = make(Counting(12), moved, max_source_length=80, eval_batch_tokens=400)
    trainer.validate(model, module, verbose=False)
    assert sorted(model.validated) == list(range(12)) and module.tokenizer is model.tokenizer
    (tmp_path / "lines").write_text("\n1 x\n\n\n22 x\n")
    module = make(Counting(12), None, max_source_length=80, eval_batch_tokens=400, predict_path=str(tmp_path / "lines"))
    trainer.predict(model, module, return_predictions=False)
    assert sorted(model.predicted) == [1, 4] and module.predict_count == 5
    assert not (tmp_path / "tokenizer.json").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_blank_lines_is_predicted_as_such(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("\n \n\t\n")
    model = Recorder()
    model.tokenizer = TOKENIZER
    module = make(Counting(), None, predict_path=str(tmp_path / "lines"), cache_dir=str(tmp_path / "cache"))
    trainer_in(tmp_path, callbacks=[TextPredictions()]).predict(model, module, return_predictions=False)
    assert (tmp_path / "predictions.txt").read_text() == "\n\n\n" and model.predicted == []


def test_all_processes_of_a_fit_have_the_first_ones_tokenizer(tokenizer_file: str, tmp_path: Path) -> None:
    """The folder that the others think is the run's is another one's, with another tokenizer."""
    train_tokenizer(["say: 1 x"] * 9, 300, "bpe", 0).save(str(tmp_path / "tokenizer.json"))
    sent: list[str] = []

    def broadcast(content: str) -> str:
        sent.append(content)
        return sent[0]

    for rank, folder in enumerate(["no/such/folder", str(tmp_path), str(tmp_path)]):
        module = as_rank(
            make(Counting(), tokenizer_file),
            rank,
            3,
            default_root_dir=folder,
            is_global_zero=rank == 0,
            state=SimpleNamespace(fn=SimpleNamespace(value="fit")),
            strategy=SimpleNamespace(broadcast=broadcast),
        )
        module.setup("fit")
        assert module.tokenizer.to_str() == TOKENIZER.to_str() == sent[0]
        assert all(texts(batch.input_ids)[0].startswith("say: ") for batch in module.train_dataloader())
    assert sent[1:] == ["", ""]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_multi30k(tokenizer_file: str) -> None:
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
    real = sum(int(batch.attention_mask.sum() + (batch.labels != -100).sum()) for batch in batches)
    assert 1 - real / size < 0.2 and size / (2048 * len(batches)) > 0.85
    (first,) = [batch for batch in module.val_dataloader() if 0 in batch.index]
    place = first.index.tolist().index(0)
    assert first.sources[place] == task.examples("val")[0].source
    kept = first.input_ids[place][first.attention_mask[place]].tolist()
    assert module.tokenizer.decode(kept) == task.prefix + first.sources[place]
    written = [(task.prefix + source, target) for source, (target,), *_ in task.examples("train")]
    assert real == sum(len(module.tokenizer.encode(text).ids) for pair in written for text in pair)
