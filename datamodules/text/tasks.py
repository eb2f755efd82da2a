"""Text-to-text tasks: sources, and the references that a model learns to generate for them.

A task is data: one datamodule and one LightningModule serve all tasks. The task itself defines where its examples come
from and how they are prepared for training and for evaluation. To add one, subclass `TextTask` in a file of your own,
as `ReverseTask` does (`toy_tasks.py`); no other file needs to change. Only a task whose training data are not pairs of
given texts, such as `SpanCorruption`, overrides more than `examples`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.text.bpe_dropout import BPEDropout
from datamodules.text.evaluation_texts import EvaluationTexts
from datamodules.text.examples import Example as Example  # re-exported for user-defined tasks
from datamodules.text.examples import PairedLines, reference_counts, reference_texts, source_texts
from datamodules.text.lines import open_lines
from datamodules.text.preparation import Preparation
from datamodules.text.tables import check_text, read_table
from datamodules.text.training_pairs import BPEDropoutPairs, Pairs, TrainingPart
from utils.checks import check_positive
from utils.tokenizer_files import EOS_ID

Split = Literal["train", "val", "test"]


class TextTask(ABC):
    """Base class of the tasks.

    Args:
        prefix: Text put before each source, such as "translate English to German: ".
        weight: Number of times that each example occurs in an epoch, above 0. With 0.5, an epoch has one half of the
            examples and the next epoch the other half.
        url: Where the files of the task can be downloaded; shown in the error about a missing file.

    Attributes:
        source_field: Name of the column (or key) of the sources in a table to predict.

    Raises:
        ValueError: The weight is not above 0.
    """

    source_field = "source"

    def __init__(self, prefix: str = "", weight: float = 1.0, url: str | None = None) -> None:
        self.prefix = prefix
        self.url = url
        self.weight = check_positive(f"{type(self).__name__}: weight", weight)

    @abstractmethod
    def examples(self, split: Split) -> Sequence[Example]:
        """Return the examples of a split, sources without prefix.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is malformed, or there is no such split.
        """

    def path(self, split: Split) -> str:
        """Return where the examples of a split come from: its files, if there are any."""
        return type(self).__name__

    def parts(self) -> list[TextTask]:
        """Return the tasks that this one consists of: only itself, unless it is a mixture."""
        return [self]

    def tokenizer_texts(self, examples: Sequence[Example]) -> list[str]:
        """Return the texts on which a tokenizer for this task is trained."""
        return [text for example in examples for text in (self.prefix + example.source, *example.references)]

    def training_part(self, examples: Sequence[Example], part: int, preparation: Preparation) -> TrainingPart:
        """Return training examples as token ids.

        Args:
            examples: The examples of the training split.
            part: Number of this task among those trained on together, counted from 0; a key of its random numbers.
            preparation: The settings of the datamodule.

        Raises:
            ValueError: Every example is dropped.
        """
        texts = source_texts(examples, self.prefix), reference_texts(examples)
        sources = preparation.encode(texts[0], "train sources")
        references = preparation.encode(texts[1], "train targets")
        counts = reference_counts(examples)
        limits = (preparation.max_source_length, preparation.max_target_length)
        long_sources, long_references = sources.lengths() > limits[0], references.lengths() > limits[1]
        kept = np.ones(len(counts), bool)
        if preparation.over_length == "drop":
            kept = ~long_sources
            kept[np.repeat(np.arange(len(counts)), counts)[long_references]] = False
        kept_references = np.repeat(kept, counts)
        done = "dropped" if preparation.over_length == "drop" else "truncated"
        preparation.report_long("train", long_sources, long_references, done)
        preparation.report_ungenerable("train", references.lengths())
        if not kept.any():
            raise ValueError(
                "data.over_length is drop, and every training pair exceeds data.max_source_length "
                f"{limits[0]} or data.max_target_length {limits[1]}: raise them"
            )
        if preparation.bpe_dropout > 0:
            kept_texts = (compress(texts[0], kept), compress(texts[1], kept_references))
            both = [BPEDropout(preparation.tokenizer, list(side), preparation.bpe_dropout) for side in kept_texts]
            return BPEDropoutPairs(both[0], both[1], limits, counts[kept], self.weight, preparation.seed, part)
        return Pairs(
            sources.select(kept).truncate(limits[0], EOS_ID),
            references.select(kept_references).truncate(limits[1], EOS_ID),
            counts[kept],
            self.weight,
            preparation.seed,
            part,
        )

    def evaluation_texts(self, examples: Sequence[Example], split: Split, preparation: Preparation) -> EvaluationTexts:
        """Return examples to evaluate on, as token ids truncated to the maximum lengths and as texts to score.

        Args:
            examples: The examples of the split.
            split: The split, for warnings.
            preparation: The settings of the datamodule.
        """
        sources = preparation.encode(source_texts(examples, self.prefix), f"{split} sources")
        targets = preparation.encode([example.references[0] for example in examples], f"{split} targets")
        limits = (preparation.max_source_length, preparation.max_target_length)
        preparation.report_long(split, sources.lengths() > limits[0], targets.lengths() > limits[1])
        preparation.report_ungenerable(split, targets.lengths())
        return EvaluationTexts(
            sources.truncate(limits[0], EOS_ID),
            targets.truncate(limits[1], EOS_ID),
            [example.source for example in examples],
            [example.references for example in examples],
            np.arange(len(examples)),
        )

    def require_file(self, file: str | None, split: Split, argument: str) -> str:
        """Return the file of a split.

        Raises:
            FileNotFoundError: It does not exist; the message says where it can be downloaded, if that is known.
            ValueError: There is none; the message names the argument to set.
        """
        if file is None:
            raise ValueError(f"{type(self).__name__} has no {split} data: set {argument} to a file")
        if self.url is not None and not Path(file).exists():
            raise FileNotFoundError(f"{argument}: the file {file} does not exist; download it from {self.url}")
        return file


class PairedFiles(TextTask):
    """Pairs of text files with one example per line: line n of the target belongs to line n of the source.

    Args:
        train_source: File of the training sources, UTF-8, plain or gzip.
        train_target: File of the training targets.
        val_source: File of the validation sources.
        val_target: File of the validation targets.
        test_source: File of the test sources; may be null unless `test` is run.
        test_target: File of the test targets; may be null unless `test` is run.
        **options: Arguments of `TextTask`.
    """

    def __init__(
        self,
        train_source: str,
        train_target: str,
        val_source: str,
        val_target: str,
        test_source: str | None = None,
        test_target: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.files = {
            "train": (train_source, train_target),
            "val": (val_source, val_target),
            "test": (test_source, test_target),
        }

    def path(self, split: Split) -> str:
        """Return the two files of a split."""
        return ", ".join(map(str, self.files[split]))

    def examples(self, split: Split) -> PairedLines:
        """Return the pairs of lines of a split's two files."""
        source_file, target_file = self.files[split]
        source_path = self.require_file(source_file, split, f"{split}_source")
        target_path = self.require_file(target_file, split, f"{split}_target")
        sources = open_lines(source_path, f"{split}_source")
        targets = open_lines(target_path, f"{split}_target")
        if len(sources) != len(targets):
            raise ValueError(
                f"{split}_source {source_path} has {len(sources)} lines and {split}_target {target_path} has "
                f"{len(targets)}: line n of one must belong to line n of the other"
            )
        for side, path, lines in (("source", source_path, sources), ("target", target_path, targets)):
            if (blank := lines.first_blank()) is not None:
                raise ValueError(
                    f"{split}_{side}: {path}, line {blank + 1}: empty {side}: remove the line from both files"
                )
        return PairedLines(sources, targets)


class TableFiles(TextTask):
    """Tables with one example per row: .tsv and .csv (with a header) or .jsonl (one object per line), plain or .gz.

    Args:
        train: File of the training examples.
        val: File of the validation examples.
        test: File of the test examples; may be null unless `test` is run.
        source_field: Name of the column (or key) of the source.
        target_field: Name of the column (or key) of the target; in .jsonl, a list of strings gives several references.
        **options: Arguments of `TextTask`.
    """

    def __init__(
        self,
        train: str,
        val: str,
        test: str | None = None,
        source_field: str = "source",
        target_field: str = "target",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.files = {"train": train, "val": val, "test": test}
        self.source_field = source_field
        self.target_field = target_field

    def path(self, split: Split) -> str:
        """Return the file of a split."""
        return str(self.files[split])

    def examples(self, split: Split) -> list[Example]:
        """Return the rows of a split's file."""
        path = self.require_file(self.files[split], split, split)
        examples = []
        for number, (source, target) in read_table(path, (self.source_field, self.target_field), split):
            place = f"{split}: {path}, line {number}: field"
            (text,) = _texts([source], f"{place} {self.source_field!r}")
            targets = target if isinstance(target, list) else [target]
            examples.append(Example(text, _texts(targets, f"{place} {self.target_field!r}")))
        if not examples:
            raise ValueError(f"{split}: {path} has no rows")
        return examples


def _texts(values: list[object], place: str) -> tuple[str, ...]:
    """Return the values of a field, or raise a ValueError that begins with `place` if one is not text, or is empty."""
    texts = tuple(check_text(value, place) for value in values)
    if not texts or not all(text.strip() for text in texts):
        raise ValueError(f"{place} is empty: fill it or remove the row")
    return texts


class MixedTasks(TextTask):
    """Several tasks trained together, each with its own prefix and weight.

    Validation has one example of each task in turn, so that its first examples cover all tasks; a test has one task
    after the other.

    Args:
        tasks: The tasks, at least one.

    Raises:
        ValueError: There is no task.
    """

    def __init__(self, tasks: list[TextTask]) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("MixedTasks: tasks is empty: list at least one task")
        self.tasks = tasks

    def examples(self, split: Split) -> list[Example]:
        """Return the examples of all tasks, one task after the other."""
        return [example for task in self.tasks for example in task.examples(split)]

    def parts(self) -> list[TextTask]:
        """Return the tasks, with each mixture among them replaced by its own tasks."""
        return [part for task in self.tasks for part in task.parts()]
