"""What a text-to-text model is to learn: sources, and the references each should become.

A task is data: one datamodule and one LightningModule serve them all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from datamodules.text_files import read_lines, read_table

Split = Literal["train", "val", "test"]


class Example(NamedTuple):
    """A text and what it should become; several references are alternatives.

    Training takes one of them, drawn anew each time the example comes up.
    """

    source: str
    references: tuple[str, ...]


class TextTask(ABC):
    """Base of the tasks.

    Args:
        prefix: Put before each source, as it is: "translate English to German: ".
        weight: How often an epoch has each example. 1: once. 2: twice. 0.5: half of the examples in one epoch, the
            other half in the next.
    """

    def __init__(self, prefix: str = "", weight: float = 1.0) -> None:
        if not 0 < weight < float("inf"):
            raise ValueError(f"{type(self).__name__}: weight is {weight}: it must be above 0")
        self.prefix = prefix
        self.weight = weight

    @abstractmethod
    def examples(self, split: Split) -> list[Example]:
        """The examples of a split, sources without prefix.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is not as it should be, or there is no such split.
        """

    def parts(self) -> list[TextTask]:
        """The tasks this one is made of: itself, if not said otherwise."""
        return [self]

    def _checked(self, split: Split, file: str | None, argument: str) -> str:
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
        prefix: Put before each source, as it is: "translate English to German: ".
        weight: How often an epoch has each example. 1: once. 2: twice. 0.5: half of the examples in one epoch, the
            other half in the next.
    """

    def __init__(
        self,
        train_source: str,
        train_target: str,
        val_source: str,
        val_target: str,
        test_source: str | None = None,
        test_target: str | None = None,
        prefix: str = "",
        weight: float = 1.0,
    ) -> None:
        super().__init__(prefix, weight)
        self.files = {
            "train": (train_source, train_target),
            "val": (val_source, val_target),
            "test": (test_source, test_target),
        }

    def examples(self, split: Split) -> list[Example]:
        paths = [
            self._checked(split, file, f"{split}_{side}")
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
        prefix: Put before each source, as it is: "summarize: ".
        weight: How often an epoch has each example. 1: once. 2: twice. 0.5: half of the examples in one epoch, the
            other half in the next.
    """

    def __init__(
        self,
        train: str,
        val: str,
        test: str | None = None,
        source_field: str = "source",
        target_field: str = "target",
        prefix: str = "",
        weight: float = 1.0,
    ) -> None:
        super().__init__(prefix, weight)
        self.files = {"train": train, "val": val, "test": test}
        self.source_field = source_field
        self.target_field = target_field

    def examples(self, split: Split) -> list[Example]:
        path = self._checked(split, self.files[split], split)
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
