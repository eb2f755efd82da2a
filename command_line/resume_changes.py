"""Config changes that a resumed run may make, and those that it may not: one table of fields.

A field may change if the run then does what it says. It may not if the checkpoint's state would no longer belong to it,
if it would have no effect, or if it decides which examples are for training and which for validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import WeightAveraging

from utils.config_changes import Change, class_of, config_changes


class Rule(NamedTuple):
    """Decision on a change of some fields.

    Attributes:
        fields: Patterns of their names; `*` stands for anything, dots included.
        refused: Why they cannot change; None if they can.
        note: What else a change of them means; shown with it.
    """

    fields: tuple[str, ...]
    refused: str | None = None
    note: str = ""


SPLIT = "training examples would move into validation or test"
ONLY_AT_THE_START = "only the start of a run uses it"
OTHER_EXAMPLES = "it may change which examples are for training and which for validation"
OTHER_STATE = "the checkpoint has another kind of optimizer state"
HORIZON = "changes the length of the schedule"
BATCHES = "changes the batches and the length of the schedule; an epoch in progress may start again"

RULES = (
    Rule(("seed_everything",), "the order, augmentation and dropout of all epochs depend on it"),
    # --- the model: its weights belong to the network, the optimizer's state to the optimizer
    Rule(("model",), "the checkpoint is from another LightningModule"),
    Rule(("model.architecture.*dropout*", "model.architecture.*drop_path*", "model.architecture.*stochastic_depth*")),
    Rule(("model.architecture.*activation_checkpointing",)),
    Rule(("model.architecture", "model.architecture.*"), "the weights belong to the network"),
    Rule(("model.init_from",), ONLY_AT_THE_START),
    Rule(("model.seed",), "the dropout of all epochs depends on it"),
    Rule(("model.optimizer",), OTHER_STATE),
    Rule(("model.optimizer.amsgrad", "model.optimizer.centered"), OTHER_STATE),
    Rule(("model.optimizer.*",)),
    Rule(("model.schedule", "model.schedule.*")),
    # The rest of a module, including your own, is read where it is used: losses, evaluation, generation.
    Rule(("model.*",)),
    # --- the data: order, size and augmentation of batches may change, the examples of a split may not
    Rule(("data",), "the checkpoint was trained on other data"),
    Rule(("data.split_seed", "data.*validation_*", "data.*test_fraction", "data.*test_size"), SPLIT),
    Rule(("data.seed",), "the order of all epochs depends on it"),
    Rule(("data.image_size",), "the network and its pixel mean are those of images of another size"),
    Rule(("data.tokenizer*", "data.vocab_size", "data.num_sentinels"), "the model depends on its tokenizer's ids"),
    Rule(("data.batch_size", "data.batch_tokens", "data.pad_to_multiple", "data.sequence_length"), note=BATCHES),
    Rule(("data.max_source_length", "data.max_target_length", "data.over_length"), note=BATCHES),
    Rule(("data.eval_*", "data.augmentation", "data.augmentation.*", "data.bpe_dropout")),
    Rule(("data.cache_dir", "data.num_workers", "data.download", "data.verify", "data.pin_memory")),
    Rule(("data.predict_*", "data.test_file")),
    # Places of the same data, whose content is compared once it has been read
    Rule(("data.root", "data.path", "data.task*.*_source", "data.task*.*_target")),
    Rule(("data.task*.train", "data.task*.val", "data.task*.test", "data.task*.url")),
    # A field of your own datamodule may be a split, and nothing would show the leak later: it is refused to be safe
    Rule(("data.*",), OTHER_EXAMPLES),
    # --- the run
    Rule(("trainer.max_epochs", "trainer.max_steps"), note=HORIZON),
    Rule(("trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches"), note=BATCHES),
    Rule(("trainer.limit_train_batches",), note=BATCHES),
    Rule(("trainer.overfit_batches",), "a run on a few batches cannot continue as a run on all, or the reverse"),
    Rule(("trainer.fast_dev_run",), "a trial run writes no checkpoint"),
    Rule(("checkpoint.monitor", "checkpoint.mode"), note="best.ckpt is chosen again"),
    Rule(("*",)),
)
"""The first rule with a pattern that fits a field decides."""

STATEFUL_CALLBACKS = WeightAveraging
"""Callbacks whose presence decides which weights a checkpoint's `state_dict` holds."""


def rule_of(change: Change) -> Rule:
    """Return the rule that decides on a change."""
    if change.field == "trainer.callbacks" and _averages(change.old) != _averages(change.new):
        return Rule((), "a run must average its weights from start to end, or not at all")
    return next(rule for rule in RULES if any(fnmatchcase(change.field, pattern) for pattern in rule.fields))


def _averages(callbacks: Any) -> list[str]:
    """Return the names of the callbacks of a config that average weights."""
    found = [class_of(each) for each in callbacks] if isinstance(callbacks, list) else [class_of(callbacks)]
    return [each.__name__ for each in found if each is not None and issubclass(each, STATEFUL_CALLBACKS)]


def accepted_changes(
    old: dict[str, Any],
    new: dict[str, Any],
    checkpoint: str,
    sections: Mapping[str, type] | None = None,
    same_folder: bool = True,
) -> list[str]:
    """Return what a resumed run changes, one text per field.

    Args:
        old: The config of the checkpoint.
        new: The config of the resumed run.
        checkpoint: Path of the checkpoint.
        sections: As for `config_changes`.
        same_folder: Whether the run continues in its folder, whose tokenizer.json is then its tokenizer. In another
            folder it needs one, which is compared with the checkpoint's once it has been read.

    Raises:
        ValueError: It may not change a field; the message names all such fields, their values, and the way out.
    """
    changes = config_changes(old, new, sections)
    refused = [(change, rule) for change in changes if (rule := rule_of(change)).refused]
    if not same_folder:
        refused = [(change, rule) for change, rule in refused if change.field != "data.tokenizer"]
    if refused:
        raise ValueError(_refusal(refused, checkpoint, new))
    return _with_notes(changes)


def _refusal(refused: Iterable[tuple[Change, Rule]], checkpoint: str, config: dict[str, Any]) -> str:
    named = "; ".join(f"{change.describe()} ({rule.refused})" for change, rule in refused)
    model = config.get("model")
    init_args = model.get("init_args") if isinstance(model, dict) else None
    starts_from = isinstance(init_args, dict) and "init_from" in init_args
    weights = f" from its weights with --model.init_from {checkpoint}" if starts_from else ""
    return (
        f"the run of {checkpoint} cannot be resumed with {named}; undo the change, or start a new run{weights} in "
        "another --run_dir"
    )


def _with_notes(changes: Iterable[Change]) -> list[str]:
    """Return the changes as text, each note only with the last change that it is about."""
    texts: dict[str, str] = {}
    last: dict[str, str] = {}
    for change in changes:
        texts[change.field] = change.describe()
        last[rule_of(change).note] = change.field
    for note, field in last.items():
        if note:
            texts[field] += f" ({note})"
    return list(texts.values())
