"""What a text-to-text model is to learn: sources, and the references each should become.

A task is data: one datamodule and one LightningModule serve them all. The task itself says where its examples come
from and how they are prepared for training and for evaluation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import compress
from typing import Any, Literal, NamedTuple

import numpy as np

from datamodules.text.bpe_dropout import BPEDropout
from datamodules.text.evaluation_texts import EvaluationTexts
from datamodules.text.files import read_lines, read_table
from datamodules.text.preparation import Preparation
from datamodules.text.training_pairs import BPEDropoutPairs, Pairs, TrainingPart
from utils.checks import check_positive
from utils.tokenizer_files import EOS_ID

Split = Literal["train", "val", "test"]


class Example(NamedTuple):
    """A text and what it should become; several references are alternatives.

    Training uses one of them, drawn again each time the example comes up.
    """

    source: str
    references: tuple[str, ...]


class TextTask(ABC):
    """Base class of the tasks.

    Args:
        prefix: Text put before each source, such as "translate English to German: ".
        weight: How often an epoch has each example. 1: once. 2: twice. 0.5: half of the examples in one epoch, the
            other half in the next.
    """

    def __init__(self, prefix: str = "", weight: float = 1.0) -> None:
        self.prefix = prefix
        self.weight = check_positive(f"{type(self).__name__}: weight", weight)

    @abstractmethod
    def examples(self, split: Split) -> list[Example]:
        """Return the examples of a split, sources without prefix.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is malformed, or there is no such split.
        """

    def parts(self) -> list[TextTask]:
        """Return the tasks that this one consists of: itself, unless it is a mixture."""
        return [self]

    def tokenizer_texts(self, examples: list[Example]) -> list[str]:
        """Return the texts that a tokenizer for this task is trained on."""
        return [text for example in examples for text in (self.prefix + example.source, *example.references)]

    def training_part(self, examples: list[Example], part: int, preparation: Preparation) -> TrainingPart:
        """Return training examples as token ids.

        Args:
            examples: The examples of the training split.
            part: Number of this task among those trained on together.
            preparation: Tokenizer, maximum lengths and the rest.

        Raises:
            ValueError: No example is left.
        """
        source_texts = [self.prefix + example.source for example in examples]
        reference_texts = [reference for example in examples for reference in example.references]
        sources, references = preparation.encode(source_texts), preparation.encode(reference_texts)
        counts = np.array([len(example.references) for example in examples])
        limits = (preparation.max_source_length, preparation.max_target_length)
        long_sources, long_references = sources.lengths() > limits[0], references.lengths() > limits[1]
        owners = np.repeat(np.arange(len(counts)), counts)
        kept = np.ones(len(counts), bool)
        if preparation.over_length == "drop":
            kept = ~long_sources
            kept[owners[long_references]] = False
        preparation.report_long("train", long_sources, long_references, "truncated" if kept.all() else "dropped")
        if not kept.any():
            raise ValueError(
                "data.over_length is drop, and every training pair is over max_source_length "
                f"{limits[0]} or max_target_length {limits[1]}: raise them"
            )
        if preparation.bpe_dropout > 0:
            texts = (compress(source_texts, kept), compress(reference_texts, kept[owners]))
            drawn = [BPEDropout(preparation.tokenizer, list(each), preparation.bpe_dropout) for each in texts]
            return BPEDropoutPairs(drawn[0], drawn[1], limits, counts[kept], self.weight, preparation.seed, part)
        return Pairs(
            sources.select(kept).truncate(limits[0], EOS_ID),
            references.select(kept[owners]).truncate(limits[1], EOS_ID),
            counts[kept],
            self.weight,
            preparation.seed,
            part,
        )

    def evaluation_texts(self, examples: list[Example], split: Split, preparation: Preparation) -> EvaluationTexts:
        """Return examples to evaluate on as token ids, too long ones truncated, and as texts to score."""
        sources = preparation.encode([self.prefix + example.source for example in examples])
        targets = preparation.encode([example.references[0] for example in examples])
        limits = (preparation.max_source_length, preparation.max_target_length)
        preparation.report_long(split, sources.lengths() > limits[0], targets.lengths() > limits[1])
        return EvaluationTexts(
            sources.truncate(limits[0], EOS_ID),
            targets.truncate(limits[1], EOS_ID),
            [example.source for example in examples],
            [example.references for example in examples],
            np.arange(len(examples)),
        )

    def _require(self, file: str | None, split: Split, argument: str) -> str:
        """Return the file of a split, or raise ValueError if it is not set."""
        if file is None:
            raise ValueError(f"{type(self).__name__} has no {split} data: set {argument} to a file")
        return file


class PairedFiles(TextTask):
    """Pairs of text files, one sentence a line: line n of the target belongs to line n of the source.

    Args:
        train_source: Training sources; plain text or gzip, UTF-8.
        train_target: Training targets.
        val_source: Validation sources.
        val_target: Validation targets.
        test_source: Test sources; needed for `test` only.
        test_target: Test targets.
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

    def examples(self, split: Split) -> list[Example]:
        paths = [
            self._require(file, split, f"{split}_{side}")
            for file, side in zip(self.files[split], ("source", "target"), strict=True)
        ]
        sources, targets = (
            read_lines(path, f"{split}_{side}") for path, side in zip(paths, ("source", "target"), strict=True)
        )
        if len(sources) != len(targets):
            raise ValueError(
                f"{split}_source {paths[0]} has {len(sources)} lines and {split}_target {paths[1]} {len(targets)}: "
                "line n of one must belong to line n of the other"
            )
        for path, side, lines in zip(paths, ("source", "target"), (sources, targets), strict=True):
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    raise ValueError(
                        f"{split}_{side}: {path}, line {number}: empty {side}: remove the line from both files"
                    )
        return [Example(source, (target,)) for source, target in zip(sources, targets, strict=True)]


class TableFiles(TextTask):
    """Tables with a row an example: .tsv and .csv (with a header), or .jsonl (an object a line), plain or .gz.

    Args:
        train: Training examples.
        val: Validation examples.
        test: Test examples; needed for `test` only.
        source_field: Name of the column (or key) that holds the source.
        target_field: Name of the column (or key) that holds the target; in .jsonl a list of strings gives several
            references.
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

    def examples(self, split: Split) -> list[Example]:
        path = self._require(self.files[split], split, split)
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
    """The values, all of them text that is not empty."""
    texts = []
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{place} must be text, and is {value!r}")
        if not value.strip():
            raise ValueError(f"{place} is empty: fill it or remove the row")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # JSON can spell one as an escape
            raise ValueError(
                f"{place} has {value[error.start]!r}, half of a surrogate pair: write the whole character or none"
            ) from error
        texts.append(value)
    if not texts:
        raise ValueError(f"{place} is empty: fill it or remove the row")
    return tuple(texts)


class MixedTasks(TextTask):
    """Several tasks learnt together, each with its own prefix and weight.

    Validation takes their examples in turn, so that its first ones are of all tasks; a test has one task after the
    other.

    Args:
        tasks: What to learn.
    """

    def __init__(self, tasks: list[TextTask]) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("MixedTasks: tasks is empty: name at least one task")
        self.tasks = tasks

    def examples(self, split: Split) -> list[Example]:
        return [example for task in self.tasks for example in task.examples(split)]

    def parts(self) -> list[TextTask]:
        return [part for task in self.tasks for part in task.parts()]
