import re
from unittest.mock import MagicMock

import pytest
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from callbacks.predictions.samples import Samples, read_sections
from callbacks.run.metrics_csv import MetricsCSV
from tests.callbacks.text_fakes import TinyText, TinyWriter, batch_of, random_batches


def cells(line: str) -> list[str]:
    """The cells of a row, by the rules of GitHub's Markdown: a bar after a backslash is text."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    parts = re.findall(r"(?:\\.|[^|\\])+", line[1:-1])
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", part.strip()) for part in parts]


def test_newest_first_with_epoch_and_step(make_trainer, tmp_path):
    model = TinyWriter(["one", "two", "three"])
    make_trainer(Samples(count=2), max_epochs=2, num_sanity_val_steps=1).fit(model, TinyText(random_batches(3)))
    text = (tmp_path / "samples.md").read_text()
    lines = text.split("\n")
    assert lines[0] == "# Samples"
    assert [line for line in lines if line.startswith("## ")] == ["## Epoch 2, step 6", "## Epoch 1, step 3"]
    start = lines.index("## Epoch 2, step 6")
    assert lines[start + 2 : start + 7] == [
        "| source | reference | output |",
        "| --- | --- | --- |",
        "| source 0 | ab<br>cd | one 1.6 |",
        "| source 1 | ab<br>cd | two 1.6 |",
        "",
    ]
    assert "three" not in text
    assert "one 0.3" in text


def test_whatever_a_text_holds_stays_in_its_cell(make_trainer, tmp_path):
    nasty = ["a|b", "a\nb\r\u2028c", "back\\|slash\\", "## Epoch 9, step 9", "<extra_id_0> *b* `c` [d](e) $f$ &lt;", ""]
    model = TinyWriter(nasty)
    model.references = ("r|1", "r\n2")
    make_trainer(Samples(count=9)).fit(model, TinyText(random_batches(1)))
    text = (tmp_path / "samples.md").read_text()
    rows = [cells(line) for line in text.split("\n") if line.startswith("| source ")][1:]
    shown = [row[2].removesuffix("0.1").rstrip() for row in rows]
    assert shown == [nasty[0], "a\\nb\\r\\u2028c", *nasty[2:]]
    assert all(row[1] == "r|1<br>r\\n2" for row in rows)
    assert r"\<extra\_id\_0\> \*b\* \`c\` \[d\](e) \$f\$ \&lt;" in text
    assert list(read_sections(tmp_path / "samples.md")) == [1]


def test_long_texts_are_shortened(make_trainer, tmp_path):
    make_trainer(Samples()).fit(TinyWriter(["|" * 5000]), TinyText(random_batches(1)))
    row = (tmp_path / "samples.md").read_text().rstrip("\n").split("\n")[-1]
    assert row.count("\\|") == 399
    assert row.endswith("… |")


def test_a_run_killed_while_writing_leaves_the_old_file(make_trainer, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*args):
        raise Killed

    trainer = make_trainer(Samples(), max_epochs=2)
    trainer.fit(TinyWriter(["x"]), TinyText(random_batches(2)))
    before = (tmp_path / "samples.md").read_bytes()
    monkeypatch.setattr("os.fsync", die)
    again = make_trainer(Samples(), max_epochs=1)
    with pytest.raises(Killed):
        again.fit(TinyWriter(["y"]), TinyText(random_batches(2)))
    assert (tmp_path / "samples.md").read_bytes() == before


def test_a_fresh_run_starts_a_fresh_file(make_trainer, tmp_path):
    make_trainer(Samples(), max_epochs=1).fit(TinyWriter(["old"]), TinyText(random_batches(2)))
    make_trainer(Samples(), max_epochs=1).fit(TinyWriter(["new"]), TinyText(random_batches(4)))
    text = (tmp_path / "samples.md").read_text()
    assert "old" not in text
    assert "new 0.4" in text


def test_tensorboard_gets_the_newest_table(make_trainer, tmp_path):
    """At the step at which Lightning logs the same validation, which counts from 0."""
    logger, csv = TensorBoardLogger(tmp_path, name="board", version=""), MetricsCSV(str(tmp_path))
    make_trainer(Samples(), max_epochs=2, logger=[logger, csv]).fit(TinyWriter(["a|b"]), TinyText(random_batches(3)))
    events = EventAccumulator(logger.log_dir).Reload()
    shown = events.Tensors("samples/text_summary")
    assert [event.step for event in shown] == [row["step"] for row in csv.rows if "val/loss" in row] == [2, 5]
    text = shown[1].tensor_proto.string_val[0].decode()
    assert text.endswith("| source 0 | ab<br>cd | a\\|b 1.6 |")


def test_wandb_gets_the_newest_table(make_trainer):
    run = MagicMock()
    logger = WandbLogger(experiment=run)
    make_trainer(Samples(), max_epochs=2, logger=logger).fit(TinyWriter(["a|b"]), TinyText(random_batches(3)))
    tables = [call.args[0] for call in run.log.call_args_list if "samples" in call.args[0]]
    assert [logged["trainer/global_step"] for logged in tables] == [2, 5]
    assert tables[1]["samples"].columns == ["source", "reference", "output"]
    assert tables[1]["samples"].data == [["source 0", "ab\ncd", "a|b 1.6"]]


def test_other_modules_and_other_commands_write_nothing(make_trainer, tiny_data, tiny_classifier, tmp_path):
    make_trainer(Samples()).fit(tiny_classifier(), tiny_data())
    make_trainer(Samples()).validate(TinyWriter(["x"]), TinyText([batch_of({0: [2]})]), verbose=False)
    assert not (tmp_path / "samples.md").exists()
    with pytest.raises(ValueError, match="count"):
        Samples(count=0)
