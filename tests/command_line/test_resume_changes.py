"""Which fields of a config a resumed run may change: more than forty kinds, each applied and listed, or refused."""

import copy
from typing import Any

import pytest
import yaml
from lightning.pytorch import Trainer

import callbacks.weight_averaging  # noqa: F401 (a config names its class)
import lightning_modules.optim.muon  # noqa: F401
from command_line.resume_changes import RULES, accepted_changes

CHECKPOINT = "runs/x/checkpoints/last.ckpt"
IMAGES = yaml.safe_load("""
seed_everything: 0
trainer:
  accelerator: auto
  strategy: auto
  devices: 1
  num_nodes: 1
  precision: null
  logger: [{class_path: callbacks.run.metrics_csv.MetricsCSV, init_args: {save_dir: ''}}]
  callbacks:
  - {class_path: callbacks.weight_averaging.EMA, init_args: {decay: 0.9}}
  - {class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/loss, patience: 3}}
  fast_dev_run: false
  max_epochs: 8
  max_steps: -1
  max_time: null
  limit_train_batches: null
  overfit_batches: 0.0
  log_every_n_steps: null
  accumulate_grad_batches: 1
  gradient_clip_val: null
model:
  class_path: lightning_modules.image_classifier.ImageClassifier
  init_args:
    architecture:
      class_path: architectures.custom_cnn.CustomCNN
      init_args: {num_classes: 10, widths: [32, 64], dropout: 0.0}
    label_smoothing: 0.1
    tta: none
    compile_network: false
    init_from: null
    body_lr_scale: 1.0
    my_loss_weight: 1.0
    optimizer:
      class_path: torch.optim.AdamW
      init_args: {lr: 0.1, betas: [0.9, 0.999], weight_decay: 0.01, amsgrad: false}
    schedule:
      class_path: lightning_modules.optim.schedules.OneCycle
      init_args: {peak: 0.0}
data:
  class_path: datamodules.image_folder.ImageFolderDataModule
  init_args:
    root: /old/pets
    image_size: 32
    validation_fraction: 0.1
    test_fraction: 0.1
    cache_dir: .cache
    batch_size: 64
    eval_batch_size: 512
    augmentation: {flip: none, cutout: 0}
    split_seed: 0
    predict_path: null
    my_fold: 1
checkpoint: {monitor: val/accuracy, mode: max}
resume_checkpoint: {every_n_seconds: 60.0, every_n_steps: null}
curves: {every_n_seconds: 20.0}
""")
TEXTS = yaml.safe_load("""
seed_everything: 0
model:
  class_path: lightning_modules.text_seq2seq.TextSeq2Seq
  init_args:
    architecture:
      class_path: architectures.t5.model.T5
      init_args: {config: {vocab_size: 400, d_model: 128, dropout_rate: 0.0}, activation_checkpointing: false}
    num_beams: 4
    init_from: null
data:
  class_path: datamodules.text_seq2seq.TextSeq2SeqDataModule
  init_args:
    task:
      class_path: datamodules.text.tasks.PairedFiles
      init_args: {train_source: /old/a.en, train_target: /old/a.de, prefix: ''}
    tokenizer: null
    tokenizer_model: unigram
    vocab_size: 400
    batch_tokens: 2048
    max_source_length: 32
""")


def changed(config: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The config with another value of a field, named as on the command line."""
    config = copy.deepcopy(config)
    *path, last = field.split(".")
    place = config
    for name in path:
        place = place[name]
        place = place.get("init_args", place)
    place[last] = value
    return config


def named(path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": init_args}


REFUSED = [
    (IMAGES, "seed_everything", 1, "seed_everything 0 -> 1"),
    (IMAGES, "model", named("my.Module"), "model ImageClassifier -> Module"),
    (IMAGES, "data", named("datamodules.digits.DigitsDataModule"), "data ImageFolderDataModule -> DigitsDataModule"),
    (IMAGES, "model.architecture", named("architectures.resnet.ResNet"), "model.architecture CustomCNN -> ResNet"),
    (IMAGES, "model.architecture.widths", [8, 8], "model.architecture.widths [32, 64] -> [8, 8]"),
    (IMAGES, "model.architecture.num_classes", 11, "model.architecture.num_classes 10 -> 11"),
    (IMAGES, "model.optimizer", named("lightning_modules.optim.muon.Muon", lr=0.1), "model.optimizer AdamW -> Muon"),
    (IMAGES, "model.optimizer.amsgrad", True, "model.optimizer.amsgrad false -> true"),
    (IMAGES, "model.init_from", "a.pt", "model.init_from null -> a.pt"),
    (IMAGES, "data.validation_fraction", 0.2, "data.validation_fraction 0.1 -> 0.2"),
    (IMAGES, "data.test_fraction", 0.2, "data.test_fraction 0.1 -> 0.2"),
    (IMAGES, "data.split_seed", 7, "data.split_seed 0 -> 7"),
    (IMAGES, "data.image_size", 64, "data.image_size 32 -> 64"),
    (IMAGES, "data.my_fold", 2, "data.my_fold 1 -> 2"),
    (IMAGES, "trainer.overfit_batches", 0.5, "trainer.overfit_batches 0.0 -> 0.5"),
    (IMAGES, "trainer.fast_dev_run", True, "trainer.fast_dev_run false -> true"),
    (IMAGES, "trainer.callbacks", None, "trainer.callbacks [EMA, EarlyStopping] -> null"),
    (TEXTS, "model.architecture.config.d_model", 64, "model.architecture.config.d_model 128 -> 64"),
    (TEXTS, "data.tokenizer", "b.json", "data.tokenizer null -> b.json"),
    (TEXTS, "data.tokenizer_model", "bpe", "data.tokenizer_model unigram -> bpe"),
    (TEXTS, "data.vocab_size", 500, "data.vocab_size 400 -> 500"),
    (TEXTS, "data.task", named("datamodules.text.toy_tasks.DateTask"), "data.task PairedFiles -> DateTask"),
    (TEXTS, "data.task.prefix", "de: ", "data.task.prefix '' -> 'de: '"),
]

APPLIED = [
    (IMAGES, "trainer.max_epochs", 16, "trainer.max_epochs 8 -> 16"),
    (IMAGES, "trainer.max_steps", 100, "trainer.max_steps -1 -> 100"),
    (IMAGES, "trainer.max_time", "00:01:00:00", "trainer.max_time null -> 00:01:00:00"),
    (IMAGES, "trainer.devices", 4, "trainer.devices 1 -> 4"),
    (IMAGES, "trainer.num_nodes", 2, "trainer.num_nodes 1 -> 2"),
    (IMAGES, "trainer.strategy", "ddp", "trainer.strategy auto -> ddp"),
    (IMAGES, "trainer.accelerator", "cpu", "trainer.accelerator auto -> cpu"),
    (IMAGES, "trainer.precision", "bf16-mixed", "trainer.precision null -> bf16-mixed"),
    (IMAGES, "trainer.accumulate_grad_batches", 2, "trainer.accumulate_grad_batches 1 -> 2"),
    (IMAGES, "trainer.limit_train_batches", 5, "trainer.limit_train_batches null -> 5"),
    (IMAGES, "trainer.log_every_n_steps", 5, "trainer.log_every_n_steps null -> 5"),
    (IMAGES, "trainer.gradient_clip_val", 1.0, "trainer.gradient_clip_val null -> 1.0"),
    (IMAGES, "trainer.logger", False, "trainer.logger [MetricsCSV] -> false"),
    (IMAGES, "model.optimizer.lr", 0.01, "model.optimizer.lr 0.1 -> 0.01"),
    (IMAGES, "model.optimizer.weight_decay", 0.0, "model.optimizer.weight_decay 0.01 -> 0.0"),
    (IMAGES, "model.optimizer.betas", [0.8, 0.9], "model.optimizer.betas [0.9, 0.999] -> [0.8, 0.9]"),
    (IMAGES, "model.schedule", named("a.Constant"), "model.schedule OneCycle -> Constant"),
    (IMAGES, "model.schedule.peak", 0.5, "model.schedule.peak 0.0 -> 0.5"),
    (IMAGES, "model.body_lr_scale", 0.1, "model.body_lr_scale 1.0 -> 0.1"),
    (IMAGES, "model.label_smoothing", 0.0, "model.label_smoothing 0.1 -> 0.0"),
    (IMAGES, "model.tta", "flip", "model.tta none -> flip"),
    (IMAGES, "model.compile_network", True, "model.compile_network false -> true"),
    (IMAGES, "model.my_loss_weight", 2.0, "model.my_loss_weight 1.0 -> 2.0"),
    (IMAGES, "model.architecture.dropout", 0.1, "model.architecture.dropout 0.0 -> 0.1"),
    (IMAGES, "data.batch_size", 32, "data.batch_size 64 -> 32"),
    (IMAGES, "data.eval_batch_size", 32, "data.eval_batch_size 512 -> 32"),
    (IMAGES, "data.augmentation.flip", "random", "data.augmentation.flip none -> random"),
    (IMAGES, "data.root", "/new/pets", "data.root /old/pets -> /new/pets"),
    (IMAGES, "data.cache_dir", None, "data.cache_dir .cache -> null"),
    (IMAGES, "checkpoint.monitor", "val/loss", "checkpoint.monitor val/accuracy -> val/loss"),
    (IMAGES, "resume_checkpoint.every_n_steps", 9, "resume_checkpoint.every_n_steps null -> 9"),
    (IMAGES, "curves.every_n_seconds", 9.0, "curves.every_n_seconds 20.0 -> 9.0"),
    (TEXTS, "model.num_beams", 5, "model.num_beams 4 -> 5"),
    (TEXTS, "model.architecture.config.dropout_rate", 0.1, "model.architecture.config.dropout_rate 0.0 -> 0.1"),
    (TEXTS, "model.architecture.activation_checkpointing", True, "activation_checkpointing false -> true"),
    (TEXTS, "data.batch_tokens", 1024, "data.batch_tokens 2048 -> 1024"),
    (TEXTS, "data.max_source_length", 64, "data.max_source_length 32 -> 64"),
    (TEXTS, "data.task.train_source", "/new/a.en", "data.task.train_source /old/a.en -> /new/a.en"),
]


@pytest.mark.parametrize(("config", "field", "value", "text"), REFUSED, ids=[case[1] for case in REFUSED])
def test_refused_by_name_with_the_way_out(config, field, value, text):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (all of the message is compared)
        accepted_changes(config, changed(config, field, value), CHECKPOINT, {"trainer": Trainer})
    message = str(refused.value)
    assert f"cannot be resumed with {text} (" in message
    assert "undo the change, or start a new run" in message
    if field != "model":
        assert f"--model.init_from {CHECKPOINT}" in message
    assert "\n" not in message


@pytest.mark.parametrize(("config", "field", "value", "text"), APPLIED, ids=[case[1] for case in APPLIED])
def test_applied_and_listed(config, field, value, text):
    (listed,) = accepted_changes(config, changed(config, field, value), CHECKPOINT, {"trainer": Trainer})
    assert text in listed
    assert listed.startswith(field)


def test_nothing_changed_is_nothing_listed():
    for config in (IMAGES, TEXTS):
        assert accepted_changes(config, copy.deepcopy(config), CHECKPOINT, {"trainer": Trainer}) == []


def test_all_refused_fields_are_named_at_once():
    new = changed(changed(changed(IMAGES, "data.split_seed", 7), "seed_everything", 3), "trainer.max_epochs", 9)
    with pytest.raises(ValueError, match=r"seed_everything 0 -> 3 .*; data\.split_seed 0 -> 7 ") as refused:
        accepted_changes(IMAGES, new, CHECKPOINT)
    assert "max_epochs" not in str(refused.value)


def test_a_callback_may_come_and_go_unless_it_averages_weights():
    ema, stopping = IMAGES["trainer"]["callbacks"]
    without = changed(IMAGES, "trainer.callbacks", [ema])
    assert accepted_changes(IMAGES, without, CHECKPOINT) == ["trainer.callbacks [EMA, EarlyStopping] -> [EMA]"]
    assert accepted_changes(without, IMAGES, CHECKPOINT) == ["trainer.callbacks [EMA] -> [EMA, EarlyStopping]"]
    slower = named("callbacks.weight_averaging.EMA", decay=0.99)
    (listed,) = accepted_changes(IMAGES, changed(IMAGES, "trainer.callbacks", [slower, stopping]), CHECKPOINT)
    assert listed == "trainer.callbacks.EMA.decay 0.9 -> 0.99"
    with pytest.raises(ValueError, match="average its weights"):
        accepted_changes(changed(IMAGES, "trainer.callbacks", [stopping]), IMAGES, CHECKPOINT)


def test_a_note_is_said_once():
    new = changed(changed(IMAGES, "trainer.max_epochs", 9), "trainer.max_steps", 5)
    listed = accepted_changes(IMAGES, new, CHECKPOINT)
    assert listed == ["trainer.max_epochs 8 -> 9", "trainer.max_steps -1 -> 5 (changes the length of the schedule)"]


def test_in_another_folder_a_tokenizer_may_be_named():
    new = changed(TEXTS, "data.tokenizer", "runs/x/tokenizer.json")
    (listed,) = accepted_changes(TEXTS, new, CHECKPOINT, same_folder=False)
    assert listed == "data.tokenizer null -> runs/x/tokenizer.json"


def test_a_module_that_cannot_start_from_weights_is_not_told_to():
    old = {"model": named("my.Module", architecture=named("my.Net"))}
    with pytest.raises(ValueError, match="or start a new run in another") as refused:
        accepted_changes(old, {"model": named("my.Module", architecture=named("my.Other"))}, CHECKPOINT)
    assert "init_from" not in str(refused.value)


def test_every_field_has_a_rule_and_every_refusal_a_reason():
    assert RULES[-1].fields == ("*",)
    assert all(rule.refused is None or len(rule.refused.split()) > 3 for rule in RULES)
