"""Datamodule for all text-to-text tasks. A data set is a task (`text/tasks.py`), and files need no code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from datamodules.loader import (
    BatchLoader,
    EvaluationSplit,
    evaluation_loader,
    evaluation_order,
    is_limited,
    require_examples,
    training_position,
)
from datamodules.text.bucketing import round_up
from datamodules.text.collation import collate
from datamodules.text.epoch_plan import TrainingPlan
from datamodules.text.evaluation_texts import EvaluationTexts, join_texts
from datamodules.text.examples import Example, some_of
from datamodules.text.prediction_input import PredictionInput, most_predicted
from datamodules.text.preparation import OverLength, Preparation
from datamodules.text.run_tokenizer import RunTokenizer
from datamodules.text.tasks import Split, TextTask
from datamodules.text.token_table import TokenTable
from datamodules.text.tokenizer import TokenizerModel
from datamodules.text.training_pairs import TrainingPart
from datamodules.trainer_state import device_of, model_of, stage_of
from utils.accumulation import accumulated_batches
from utils.batches import Seq2SeqBatch
from utils.checks import check_choice, check_fraction, check_int, check_positive_int
from utils.contracts import (
    DataSource,
    DescribesTestData,
    IdentifiesTrainingData,
    LimitsLength,
    PredictsLines,
    ProvidesTokens,
)
from utils.digests import digest_of
from utils.distributed import rank_and_world_size
from utils.resume_position import checksum
from utils.tokenizer_files import EOS_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_TO_TRAIN_A_TOKENIZER = 50_000
"""Number of examples from which a tokenizer is trained on only a part of them."""


class TextSeq2SeqDataModule(
    LightningDataModule, ProvidesTokens, PredictsLines, IdentifiesTrainingData, DescribesTestData
):
    """Sources and targets as token ids, in batches that hold a budget of tokens.

    A training batch consists of pairs of similar length. Each example occurs once in an epoch (or as often as the
    `weight` of its task says), whatever the world size. Evaluation uses each example once, the longest first.

    Args:
        task: Where the texts come from and how they are prepared.
        tokenizer: A tokenizer.json, a spiece.model, or a folder that contains one of them, as published with T5; if
            null, a tokenizer is trained on the training texts (with 50,000 examples or more, on those of every n-th). A
            run saves its tokenizer in its folder and its checkpoints, and resumes with it.
        tokenizer_model: Kind of a tokenizer that is trained: unigram or bpe.
        vocab_size: Vocabulary size of a tokenizer that is trained, special tokens included.
        num_sentinels: Number of tokens `<extra_id_0>`, ... of a tokenizer that is trained; span corruption needs them.
        bpe_dropout: Probability of skipping each merge of a BPE tokenizer in training, at least 0 and below 1; 0
            disables BPE-dropout (Provilkov et al. 2020, arXiv:1910.13267, use 0.1). Tokens are drawn again in each
            epoch. Sequences become longer, and are truncated at the maximum lengths. Span corruption does not use it.
        max_source_length: Maximum source length in tokens, prefix and end of sequence included.
        max_target_length: Maximum target length in tokens, end of sequence included.
        over_length: What happens to longer training pairs: truncate keeps the beginning of a text, drop skips the
            pair, and with several references the example if one of them is too long.
            In evaluation and prediction, long texts are always truncated, so that no example is missing. The number of
            truncated or dropped texts is reported.
        batch_tokens: Maximum number of tokens in a training batch, per process: sources and targets together, padding
            included.
        eval_batch_tokens: Maximum number of tokens in a batch of validation, test and prediction, per process.
        pad_to_multiple: Lengths are padded to a multiple of it. On Multi30k with 8,000 tokens, 1, 2, 4 and 8 give
            169, 84, 39 and 19 different shapes and 3%, 5%, 10% and 19% padding.
        cache_dir: Folder that keeps tokenised texts for later runs, in files named after their content; if null, there
            is no cache.
        seed: Seed of the order, of the choice among references, of BPE-dropout and of the spans of span corruption.
        predict_path: What to predict, UTF-8, plain or gzip: a text file with one text per line, or a .tsv, .csv (both
            with a header) or .jsonl with one text per row. It may be a pipe, such as /dev/stdin. A blank text stays
            blank. If null, the test sources.
        predict_prefix: Text put before each text of `predict_path`; if null, the prefix of the task.
        predict_field: Column (or key) of the texts if `predict_path` is a table; if null, that of the task's sources,
            which is `source` unless the task has a `source_field`.

    Raises:
        ValueError: A number is out of range.
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
        over_length: OverLength = "truncate",
        batch_tokens: int = 4096,
        eval_batch_tokens: int = 4096,
        pad_to_multiple: int = 4,
        cache_dir: str | None = "data/cache",
        seed: int = 0,
        predict_path: str | None = None,
        predict_prefix: str | None = None,
        predict_field: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("data.over_length", over_length, ("truncate", "drop"))
        self.task = task
        self.tokenizer_model = tokenizer_model
        self.vocab_size = vocab_size
        self.num_sentinels = num_sentinels
        self.bpe_dropout = check_fraction("data.bpe_dropout", bpe_dropout)
        self.max_source_length = check_int("data.max_source_length", max_source_length, at_least=2)
        self.max_target_length = check_int("data.max_target_length", max_target_length, at_least=2)
        self.over_length: OverLength = over_length
        self.pad_to_multiple = check_positive_int("data.pad_to_multiple", pad_to_multiple)
        self.batch_tokens = self._check_budget("batch_tokens", batch_tokens)
        self.eval_batch_tokens = self._check_budget("eval_batch_tokens", eval_batch_tokens)
        self.cache_dir = cache_dir
        self.seed = check_int("data.seed", seed)
        self.predict_path = predict_path
        self.predict_prefix = predict_prefix
        self.predict_field = predict_field
        self.predict_count = 0
        self.prepare_data_per_node = False  # all nodes share the run folder, in which the tokenizer is saved
        self._run_tokenizer = RunTokenizer(tokenizer, tokenizer_model, vocab_size, num_sentinels, self._tokenizer_texts)
        self._examples: dict[tuple[int, Split], Sequence[Example]] = {}
        self._training_parts: list[TrainingPart] | None = None
        self._prediction_input: PredictionInput | None = None

    def _check_budget(self, name: str, tokens: int) -> int:
        """Return `tokens` if it is at least the size of one pair of the maximum lengths."""
        needed = sum(
            round_up(length, self.pad_to_multiple) for length in (self.max_source_length, self.max_target_length)
        )
        if tokens < needed:
            raise ValueError(
                f"data.{name} must be at least {needed}, the size of one pair of max_source_length "
                f"{self.max_source_length} and max_target_length {self.max_target_length}, got {tokens}"
            )
        return tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the run in a fit; elsewhere that of the model, which is stored in its checkpoint."""
        return self._run_tokenizer.get(self.trainer)

    # --- reading -----------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Read all that the stage needs, so that errors come early, and in a fit save the tokenizer and fill the cache.

        The Trainer calls this on one process only.
        """
        stage = stage_of(self.trainer)
        self._run_tokenizer.check_against_model(self.trainer)
        if stage in (None, "fit"):
            self._read_all("train", "val")
            self._run_tokenizer.keep(self.trainer)
            self._parts()
        elif stage == "validate":
            self._read_all("val")
        elif stage == "predict" and (predicted := self._predicted()) is not None:
            predicted.records()
        else:
            self._read_all("test")

    def setup(self, stage: str) -> None:
        """Share what the first process has read, and before a fit prepare the training texts."""
        if stage == "fit":
            self._run_tokenizer.share(self.trainer)
            self._parts()
        elif stage == "predict" and (predicted := self._predicted()) is not None:
            predicted.share(self.trainer)

    def _read(self, part: int, split: Split) -> Sequence[Example]:
        """Return the examples of one of the tasks, read on first use."""
        key = (part, split)
        if key not in self._examples:
            self._examples[key] = self.task.parts()[part].examples(split)
        return self._examples[key]

    def _read_all(self, *splits: Split) -> None:
        for split in splits:
            for part in range(len(self.task.parts())):
                self._read(part, split)

    def training_data(self) -> dict[str, int]:
        """Return the numbers of training and validation examples, and a checksum of some of them."""
        parts = range(len(self.task.parts()))
        train, val = ([self._read(part, split) for part in parts] for split in ("train", "val"))
        some = [repr(example).encode() for each in (train, val) for example in some_of(each)]
        sizes = (sum(map(len, each)) for each in (train, val))
        return {"training examples": next(sizes), "validation examples": next(sizes), "checksum": checksum(some)}

    def _tokenizer_texts(self) -> list[str]:
        parts = [(task, self._read(part, "train")) for part, task in enumerate(self.task.parts())]
        most = MOST_TO_TRAIN_A_TOKENIZER // len(parts)  # of each task: a small one has words of its own, too
        some = ((task, list(islice(examples, 0, None, len(examples) // most + 1))) for task, examples in parts)
        return [text for task, examples in some for text in task.tokenizer_texts(examples)]

    def _preparation(self) -> Preparation:
        model = model_of(self.trainer)
        return Preparation(
            self.tokenizer,
            self.max_source_length,
            self.max_target_length,
            self.over_length,
            self.bpe_dropout,
            self.seed,
            self.cache_dir,
            model.max_length if isinstance(model, LimitsLength) else None,
        )

    # --- training ----------------------------------------------------------------------------------------------

    def train_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        """Return the loader of this process's training batches."""
        rank, world_size = rank_and_world_size(self.trainer)
        plan = TrainingPlan(self._parts(), self.batch_tokens, self.pad_to_multiple, self.seed, world_size)

        def batches(epoch: int) -> list[Tensor]:
            return [torch.from_numpy(step[rank::world_size].copy()) for step in plan.epoch(epoch).steps]

        def fetch(places: Tensor, epoch: int, step: int) -> Seq2SeqBatch:
            pairs = plan.pairs(epoch, places.numpy())
            tokens = self._optimizer_step_tokens(plan.epoch(epoch).target_tokens, step)
            return collate(pairs, places, self.pad_to_multiple, step_tokens=tokens)

        return BatchLoader(batches, fetch, lambda: training_position(self.trainer), device_of(self.trainer))

    def _parts(self) -> list[TrainingPart]:
        """Return the training data of each task, prepared on first use."""
        if self._training_parts is None:
            preparation = self._preparation()
            self._training_parts = [
                task.training_part(self._read(part, "train"), part, preparation)
                for part, task in enumerate(self.task.parts())
            ]
        return self._training_parts

    def _optimizer_step_tokens(self, target_tokens: list[int], step: int) -> int:
        """Return the number of target tokens of the batches that are accumulated into one step with batch `step`."""
        return sum(target_tokens[each] for each in accumulated_batches(self.trainer, step, len(target_tokens)))

    # --- evaluation and prediction -----------------------------------------------------------------------------

    def val_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        """Return the loader of this process's validation batches, one example of each task in turn."""
        return self._evaluation_loader(self._evaluation_texts("val", interleave=True), "val")

    def test_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        """Return the loader of this process's test batches, one task after the other."""
        return self._evaluation_loader(self._evaluation_texts("test", interleave=False), "test")

    def test_source(self) -> DataSource:
        """Return where the test texts come from, and the digest of prefixes, sources and references."""
        tasks = list(enumerate(self.task.parts()))
        rows = [(task.prefix, *example) for part, task in tasks for example in self._read(part, "test")]
        path = "; ".join(dict.fromkeys(task.path("test") for _, task in tasks))
        return DataSource(path, digest_of(map(json.dumps, rows)), len(rows))

    def predict_dataloader(self) -> BatchLoader[Seq2SeqBatch]:
        """Return the loader of this process's texts to predict; blank lines are skipped."""
        predicted = self._predicted()
        if predicted is None:
            texts = self._evaluation_texts("test", interleave=False)
            self.predict_count = len(texts.sources)
        else:
            texts = self._texts_to_predict([record.text for record in predicted.records()])
        nothing = TokenTable.of([[]] * len(texts.sources))
        return self._evaluation_loader(texts._replace(target_ids=nothing, references=[]))

    def _evaluation_texts(self, split: Split, interleave: bool) -> EvaluationTexts:
        """Return the texts of all tasks, joined as `join_texts` describes."""
        preparation = self._preparation()
        texts = [
            task.evaluation_texts(self._read(part, split), split, preparation)
            for part, task in enumerate(self.task.parts())
        ]
        return join_texts(texts, interleave=interleave)

    def _texts_to_predict(self, records: list[str]) -> EvaluationTexts:
        """Return the texts of `predict_path` that are not blank; in a limited prediction, as many as it can use."""
        self.predict_count = len(records)
        places = [number for number, text in enumerate(records) if text and not text.isspace()]
        places = places[: most_predicted(self.trainer, self.eval_batch_tokens, self.pad_to_multiple)]
        sources = [records[place] for place in places]
        prefix, preparation = self._predict_prefix(), self._preparation()
        ids = preparation.encode([prefix + source for source in sources], f"{self.predict_path}: sources")
        preparation.report_long(str(self.predict_path), ids.lengths() > self.max_source_length, np.zeros(0, bool))
        ids = ids.truncate(self.max_source_length, EOS_ID)
        return EvaluationTexts(ids, TokenTable.of([]), sources, [], np.array(places, np.int64))

    def _predicted(self) -> PredictionInput | None:
        """Return the texts that `predict_path` names; None if it is None."""
        if self.predict_path is None:
            return None
        if self._prediction_input is None:
            fields = {part.source_field for part in self.task.parts()}
            if self.predict_field is None and len(fields) > 1:
                names = ", ".join(map(repr, sorted(fields)))
                raise ValueError(f"data.predict_field is missing: set it to the column to predict, such as {names}")
            fix = "set data.predict_field to the one to predict"
            self._prediction_input = PredictionInput(self.predict_path, self.predict_field or fields.pop(), fix)
        return self._prediction_input

    def _predict_prefix(self) -> str:
        prefixes = self.prefixes()
        if len(prefixes) > 1:
            named = ", ".join(map(repr, prefixes))
            raise ValueError(f"data.predict_prefix is missing: set it to the prefix of one of the tasks: {named}")
        return prefixes[0]

    def prefixes(self) -> list[str]:
        """Return the possible prefixes of a text to predict: `predict_prefix`, or the distinct ones of the tasks."""
        if self.predict_prefix is not None:
            return [self.predict_prefix]
        return sorted({part.prefix for part in self.task.parts()})

    def _evaluation_loader(
        self, texts: EvaluationTexts, split: EvaluationSplit | None = None
    ) -> BatchLoader[Seq2SeqBatch]:
        """Return a loader of all texts, the longest first; if they are those of a split, there must be some."""
        if split is not None:
            require_examples(split, len(texts.sources))
        batches = texts.batches(self.eval_batch_tokens, self.pad_to_multiple)
        if split is not None:
            batches = [batches[place] for place in evaluation_order(len(batches), split, self.trainer).tolist()]
        if split == "val" and is_limited(split, self.trainer):
            # The first examples are those that a validation generates text for: they must be among those that it has
            texts = texts.numbered_as_in(batches)
        return evaluation_loader(batches, lambda rows: texts.collate(rows, self.pad_to_multiple), self.trainer)
