"""Texts to texts: the datamodule of every text task."""

from __future__ import annotations

from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.bpe_dropout import BPEDropout
from datamodules.files import replacing
from datamodules.samplers import BatchLoader, rank_and_world, require_one_each, training_position
from datamodules.seeding import numpy_generator
from datamodules.span_corruption import SpanCorruption
from datamodules.text_batches import Seq2SeqBatch, batch_of
from datamodules.text_files import read_lines
from datamodules.text_pairs import (
    Pairs,
    RespeltPairs,
    ScoredTexts,
    Segments,
    TrainingPart,
    TrainingPlan,
    cut_segments,
    joined_texts,
)
from datamodules.text_tasks import Example, Split, TextTask
from datamodules.token_batches import cut_batches, padded
from datamodules.token_cache import TokenTable, encode_texts
from datamodules.tokenization import EOS_ID, TokenizerModel, load_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"


class TextSeq2SeqDataModule(LightningDataModule):
    """Texts and what they should become, as token ids, in batches that hold a budget of tokens.

    A training batch is made of pairs alike in length; each example is in an epoch once (or as its task's `weight`
    says), whatever the number of processes. Evaluation sees each example once, the longest first.

    Args:
        task: Where the texts come from.
        tokenizer: A tokenizer.json, a spiece.model, or a folder with one of them, as published with T5; null: one is
            trained on the training texts. A run keeps its tokenizer in its folder and in its checkpoints, and goes on
            with that.
        tokenizer_model: Kind of the tokenizer that is trained: unigram or bpe.
        vocab_size: Size of the vocabulary of the tokenizer that is trained, all included.
        num_sentinels: Tokens `<extra_id_0>`, ... of the tokenizer that is trained; span corruption needs them.
        bpe_dropout: In training, the probability of each merge of a BPE tokenizer to be passed over, drawn anew in each
            epoch (Provilkov et al. 2020, arXiv:1910.13267: 0.1). Sequences come out longer, and are cut at the limits.
            Span corruption goes without.
        max_source_length: Most tokens of a source, prefix and end of sequence included.
        max_target_length: Most tokens of a target, end of sequence included.
        over_length: What happens to longer training pairs: "cut" keeps their beginning, "drop" leaves the pair out. In
            evaluation and prediction sources are always cut, so that none is missing. It is said how many there are.
        batch_tokens: Most tokens of a training batch, per process: sources and targets together, padding included.
        eval_batch_tokens: Most tokens of a batch in validation, test and prediction, per process.
        pad_to_multiple: Lengths are padded up to a multiple of it. On Multi30k 2, 4 and 8 give 92, 42 and 17 shapes,
            and 3%, 7% and 14% of padding.
        cache_dir: Folder that keeps tokenised texts for the next run, under names made from their content; null: none.
        seed: Seed of the order, of the choice among references and of the noise of span corruption.
        predict_path: A text file to predict, plain or gzip, one text a line; null: the test sources.
        predict_prefix: Put before each line of `predict_path`; null: the task's prefix.

    Raises:
        ValueError: A number is not possible.
    """

    def __init__(
        self,
        task: TextTask,
        tokenizer: str | None = None,
        tokenizer_model: TokenizerModel = "unigram",
        vocab_size: int = 8000,
        num_sentinels: int = 100,
        bpe_dropout: float = 0.0,
        max_source_length: int = 128,
        max_target_length: int = 128,
        over_length: Literal["cut", "drop"] = "cut",
        batch_tokens: int = 4096,
        eval_batch_tokens: int = 4096,
        pad_to_multiple: int = 4,
        cache_dir: str | None = "data/cache",
        seed: int = 0,
        predict_path: str | None = None,
        predict_prefix: str | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("max_source_length", max_source_length, 2),
            ("max_target_length", max_target_length, 2),
            ("pad_to_multiple", pad_to_multiple, 1),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"data.{name} is {value}: it must be at least {least}")
        longest = int(padded(np.array([max_source_length, max_target_length]), pad_to_multiple).sum())
        for name, value in (("batch_tokens", batch_tokens), ("eval_batch_tokens", eval_batch_tokens)):
            if value < longest:
                raise ValueError(
                    f"data.{name} is {value}: it must be at least {longest}, the size of one pair of max_source_length "
                    f"{max_source_length} and max_target_length {max_target_length}"
                )
        if not 0 <= bpe_dropout < 1:
            raise ValueError(f"data.bpe_dropout is {bpe_dropout}: it must be at least 0 and below 1")
        if over_length not in ("cut", "drop"):
            raise ValueError(f"data.over_length is {over_length!r}: it must be cut or drop")
        self.task = task
        self.tokenizer_path = tokenizer
        self.tokenizer_model = tokenizer_model
        self.vocab_size = vocab_size
        self.num_sentinels = num_sentinels
        self.bpe_dropout = bpe_dropout
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length
        self.over_length = over_length
        self.batch_tokens = batch_tokens
        self.eval_batch_tokens = eval_batch_tokens
        self.pad_to_multiple = pad_to_multiple
        self.cache_dir = cache_dir
        self.seed = seed
        self.predict_path = predict_path
        self.predict_prefix = predict_prefix
        self.predict_count = 0
        # The run folder is one for all nodes, and so is what is written here.
        self.prepare_data_per_node = False
        self._tokenizer: Tokenizer | None = None
        self._examples: dict[tuple[int, Split], list[Example]] = {}
        self._training_parts: list[TrainingPart] | None = None

    # --- the tokenizer -----------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """In a fit the run's own; else the model's, which came with its checkpoint."""
        if self._stage() != "fit":
            known = getattr(self.trainer.lightning_module, "tokenizer", None) if self.trainer is not None else None
            if known is not None:
                return known
        if self._tokenizer is None:
            self._tokenizer = self._find_tokenizer()
        return self._tokenizer

    def _refuse_another_tokenizer(self) -> None:
        """Outside a fit the model's tokenizer is used; one that is set beside it must be the same."""
        path = self.tokenizer_path
        if self._stage() in (None, "fit") or path is None or not Path(path).exists():  # a run may have been moved
            return
        if load_tokenizer(path).get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"data.tokenizer: {path} is not the tokenizer that the model was trained with, which its checkpoint "
                "holds: pass --data.tokenizer null"
            )

    def _find_tokenizer(self) -> Tokenizer:
        file = self._run_file()
        if file is not None and file.is_file():
            return load_tokenizer(file)
        if self.tokenizer_path is not None:
            return load_tokenizer(self.tokenizer_path)
        if self._stage() not in (None, "fit"):
            raise ValueError("the model has no tokenizer and data.tokenizer is not set: set it to a tokenizer.json")
        texts = []
        for number, task in enumerate(self.task.parts()):
            for example in self._read(number, "train"):
                texts += [task.prefix + example.source, *example.references]
        rank_zero_info(f"training a tokenizer ({self.tokenizer_model}, {self.vocab_size:,} tokens)")
        return train_tokenizer(texts, self.vocab_size, self.tokenizer_model, self.num_sentinels)

    def _run_file(self) -> Path | None:
        return Path(self.trainer.default_root_dir) / TOKENIZER_FILE if self.trainer is not None else None

    def _keep_tokenizer(self) -> None:
        file = self._run_file()
        if file is None or file.is_file():
            return
        with replacing(file) as temporary:
            self.tokenizer.save(str(temporary))

    # --- reading -----------------------------------------------------------------------------------------------

    def _stage(self) -> str | None:
        stage = self.trainer.state.fn if self.trainer is not None else None
        return None if stage is None else str(stage.value)

    def _read(self, part: int, split: Split) -> list[Example]:
        """The examples of one of the tasks, read on first use."""
        key = (part, split)
        if key not in self._examples:
            self._examples[key] = self.task.parts()[part].examples(split)
        return self._examples[key]

    def prepare_data(self) -> None:
        """On one process: read all that the stage needs, so that what is wrong is said early, and fill the cache."""
        stage = self._stage()
        self._refuse_another_tokenizer()
        if stage in (None, "fit"):
            self._read_all("train", "val")
            self._keep_tokenizer()
            self._parts()
        elif stage == "validate":
            self._read_all("val")
        elif stage == "test" or self.predict_path is None:
            self._read_all("test")
        else:
            self._predict_lines()

    def _read_all(self, *splits: Split) -> None:
        for split in splits:
            for part in range(len(self.task.parts())):
                self._read(part, split)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._share_tokenizer()
            self._parts()

    def _share_tokenizer(self) -> None:
        """Gives every process the first one's: processes that srun or torchrun start may not know the run's folder yet.

        They would take the tokenizer of the run whose folder they think it is.
        """
        if self.trainer is None or self.trainer.world_size == 1:
            return
        first = self.trainer.is_global_zero
        content = self.trainer.strategy.broadcast(self.tokenizer.to_str() if first else "")
        if not first:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_str(content)

    # --- training ----------------------------------------------------------------------------------------------

    def _parts(self) -> list[TrainingPart]:
        if self._training_parts is None:
            self._training_parts = [self._part(number, task) for number, task in enumerate(self.task.parts())]
        return self._training_parts

    def _part(self, number: int, task: TextTask) -> TrainingPart:
        examples = self._read(number, "train")
        if isinstance(task, SpanCorruption):
            segments, sentinels = self._segments(task, examples)
            return Segments(segments, task, sentinels, self.seed, number)
        source_texts = [task.prefix + example.source for example in examples]
        target_texts = [reference for example in examples for reference in example.references]
        sources, targets = self._encode(source_texts, target_texts)
        counts = np.array([len(example.references) for example in examples])
        long_sources = sources.lengths() > self.max_source_length
        long_targets = targets.lengths() > self.max_target_length
        self._report("train", long_sources, long_targets, "cut" if self.over_length == "cut" else "dropped")
        owners = np.repeat(np.arange(len(counts)), counts)
        kept = np.ones(len(counts), bool)
        if self.over_length == "drop":
            kept = ~long_sources
            kept[owners[long_targets]] = False
            if not kept.any():
                raise ValueError(
                    "data.over_length is drop, and every training pair is over max_source_length "
                    f"{self.max_source_length} or max_target_length {self.max_target_length}: raise them"
                )
        limits = (self.max_source_length, self.max_target_length)
        if self.bpe_dropout > 0:
            texts = (compress(source_texts, kept), compress(target_texts, kept[owners]))
            respelt = [BPEDropout(self.tokenizer, list(each), self.bpe_dropout) for each in texts]
            return RespeltPairs(respelt[0], respelt[1], limits, counts[kept], task.weight, self.seed, number)
        return Pairs(
            sources.select(kept).cut(limits[0], EOS_ID),
            targets.select(kept[owners]).cut(limits[1], EOS_ID),
            counts[kept],
            task.weight,
            self.seed,
            number,
        )

    def _segments(self, task: SpanCorruption, examples: list[Example]) -> tuple[TokenTable, list[int]]:
        texts = [example.source for example in examples]
        return cut_segments(self.tokenizer, task, texts, self.max_source_length, self.max_target_length, self.cache_dir)

    def _encode(self, *texts: list[str]) -> list[TokenTable]:
        return [encode_texts(self.tokenizer, part, self.cache_dir) for part in texts]

    def _report(self, split: str, sources: np.ndarray, targets: np.ndarray, what: str) -> None:
        for name, long, limit in (
            ("source", sources, self.max_source_length),
            ("target", targets, self.max_target_length),
        ):
            if long.any():
                count = f"{long.sum():,} of {len(long):,} {name}s"
                rank_zero_warn(f"{split}: {count} are over data.max_{name}_length {limit} and {what}")

    def train_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        rank, world = rank_and_world(self.trainer)
        plan = TrainingPlan(self._parts(), self.batch_tokens, self.pad_to_multiple, self.seed, world)

        def batches(epoch: int) -> list[Tensor]:
            return [torch.from_numpy(step[rank::world].copy()) for step in plan.epoch(epoch).steps]

        def fetch(places: Tensor, epoch: int, step: int) -> Seq2SeqBatch:
            pairs = plan.pairs(epoch, places.numpy())
            tokens = self._optimizer_step_tokens(plan.epoch(epoch).target_tokens, step)
            return batch_of(pairs, places, self.pad_to_multiple, step_tokens=tokens)

        return BatchLoader(batches, fetch, lambda: training_position(self.trainer))

    def _optimizer_step_tokens(self, target_tokens: list[int], step: int) -> int:
        """Target tokens of the batches accumulated together with batch `step`; an epoch's last group may be shorter."""
        accumulated, batches = 1, len(target_tokens)
        if self.trainer is not None:
            accumulated = self.trainer.accumulate_grad_batches
            batches = int(min(batches, self.trainer.num_training_batches))
        first = step - step % accumulated
        return sum(target_tokens[first : min(first + accumulated, batches)])

    # --- evaluation and prediction -----------------------------------------------------------------------------

    def val_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        return self._evaluation_loader(self._all_scored("val", in_turn=True), "validation")

    def test_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        return self._evaluation_loader(self._all_scored("test", in_turn=False), "test")

    def predict_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a single line, say: one process has nothing
        if self.predict_path is None:
            texts = self._all_scored("test", in_turn=False)
            self.predict_count = len(texts.sources)
        else:
            texts = self._predicted()
        nothing = TokenTable.of([[]] * len(texts.sources))
        return self._evaluation_loader(texts._replace(target_ids=nothing, references=[]))

    def _all_scored(self, split: Split, in_turn: bool) -> ScoredTexts:
        """The texts of all tasks, see `joined_texts`."""
        return joined_texts(
            [self._scored(number, task, split) for number, task in enumerate(self.task.parts())], in_turn
        )

    def _scored(self, number: int, task: TextTask, split: Split) -> ScoredTexts:
        examples = self._read(number, split)
        if isinstance(task, SpanCorruption):
            return self._corrupted(task, examples)
        sources, targets = self._encode(
            [task.prefix + example.source for example in examples],
            [example.references[0] for example in examples],
        )
        self._report(
            split, sources.lengths() > self.max_source_length, targets.lengths() > self.max_target_length, "cut"
        )
        return ScoredTexts(
            sources.cut(self.max_source_length, EOS_ID),
            targets.cut(self.max_target_length, EOS_ID),
            [example.source for example in examples],
            [example.references for example in examples],
            np.arange(len(examples)),
        )

    def _corrupted(self, task: SpanCorruption, examples: list[Example]) -> ScoredTexts:
        """Segments with the same noise in every run, whatever its seed: scores must compare."""
        segments, sentinels = self._segments(task, examples)
        pairs = [
            task.corrupt(segments.row(number), sentinels, EOS_ID, numpy_generator(number))
            for number in range(len(segments))
        ]
        texts = [
            [self.tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False) for ids in pair] for pair in pairs
        ]
        return ScoredTexts(
            TokenTable.of([source.tolist() for source, _ in pairs]),
            TokenTable.of([target.tolist() for _, target in pairs]),
            [source for source, _ in texts],
            [(target,) for _, target in texts],
            np.arange(len(pairs)),
        )

    def _predict_lines(self) -> list[str]:
        return read_lines(str(self.predict_path), "data.predict_path")

    def _predicted(self) -> ScoredTexts:
        lines = self._predict_lines()
        self.predict_count = len(lines)
        index = [number for number, line in enumerate(lines) if line.strip()]
        sources = [lines[number] for number in index]
        prefix = self._prefix()
        (ids,) = self._encode([prefix + source for source in sources])
        self._report(str(self.predict_path), ids.lengths() > self.max_source_length, np.zeros(0, bool), "cut")
        return ScoredTexts(
            ids.cut(self.max_source_length, EOS_ID), TokenTable.of([]), sources, [], np.array(index, np.int64)
        )

    def _prefix(self) -> str:
        if self.predict_prefix is not None:
            return self.predict_prefix
        prefixes = {part.prefix for part in self.task.parts()}
        if len(prefixes) > 1:
            raise ValueError(
                "set data.predict_prefix to one of the tasks' prefixes: "
                + ", ".join(repr(prefix) for prefix in sorted(prefixes))
            )
        return prefixes.pop()

    def _evaluation_loader(self, texts: ScoredTexts, part: str | None = None) -> BatchLoader[Seq2SeqBatch]:
        """Batches of all texts; of a `part` that is scored each process must have one."""
        rank, world = rank_and_world(self.trainer)
        if part is not None:
            require_one_each(part, len(texts.sources), world)
        sources = padded(texts.source_ids.lengths(), self.pad_to_multiple)
        targets = padded(texts.target_ids.lengths(), self.pad_to_multiple)
        # What is to be generated is not known: as long as the source, say.
        steps = cut_batches(sources, targets if targets.any() else sources, self.eval_batch_tokens, world)
        batches = [torch.from_numpy(step[rank::world].copy()) for step in reversed(steps) if len(step) > rank]

        def fetch(places: Tensor, epoch: int, step: int) -> Seq2SeqBatch:
            numbers = places.tolist()
            pairs = [(texts.source_ids.row(number), texts.target_ids.row(number)) for number in numbers]
            return batch_of(
                pairs,
                torch.from_numpy(texts.places[places.numpy()]),
                self.pad_to_multiple,
                [texts.sources[number] for number in numbers],
                [texts.references[number] for number in numbers] if texts.references else [],
            )

        return BatchLoader(lambda epoch: batches, fetch)
