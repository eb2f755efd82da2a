"""The command line as a user meets it: run folders, configs, and checkpoints that describe themselves."""

import csv
import json
import re
import shutil

import pytest
import torch
import yaml

import cli
from tests.quickstart import HAS_REPORTS, QUICKSTART, SEQ2SEQ, SMALL, checkpoint_of

# --- the run folder ------------------------------------------------------------------------------------------------


def test_fit_fills_one_folder(finished_run):
    there = {path.name for path in finished_run.iterdir()}
    assert {"config.yaml", "metrics.csv", "checkpoints", "curves.png", "confusion_matrix.png", "summary.md"} <= there
    assert {"throughput.csv", "reliability.json"} <= there
    assert ("report.html" in there) == HAS_REPORTS
    assert {path.name for path in (finished_run / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    with (finished_run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]  # one row an epoch, train and validation together
    assert all(row["train/loss"] and row["val/accuracy"] and row["lr"] for row in rows)


def test_saved_config_asks_for_nothing_transient(finished_run):
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    assert not {"name", "run_dir", "resume", "ckpt_path", "output", "report", "debug", "trust_checkpoint"} & set(config)
    assert config["trainer"]["default_root_dir"] is None
    assert config["model"]["init_args"]["architecture"]["init_args"]["widths"] == [8, 8, 8]


def test_17115_7679_11158_torchgeo_1621_names_follow_the_config_and_never_overwrite(oneforall, tmp_path):
    for expected in ("images", "images-2"):
        outcome = oneforall("fit", "--config", QUICKSTART, *SMALL, "--trainer.max_epochs", "1")
        assert outcome.code == 0
        assert (tmp_path / "runs" / expected / "metrics.csv").is_file()
        for weights in ("best.ckpt", "last.ckpt"):
            assert f"oneforall test --ckpt_path runs/{expected}/checkpoints/{weights}  # " in outcome.out


def test_a_taken_run_dir_is_an_error(oneforall, finished_run):
    before = (finished_run / "metrics.csv").read_bytes()
    outcome = oneforall("fit", "--config", QUICKSTART, *SMALL, "--run_dir", str(finished_run))
    assert outcome.code == 2
    assert str(finished_run) in outcome.last_line
    assert "--resume" in outcome.last_line
    assert (finished_run / "metrics.csv").read_bytes() == before


def test_a_run_that_never_began_leaves_no_folder(oneforall, tmp_path):
    outcome = oneforall("fit", "--config", QUICKSTART, "--model.architecture.num_classes", "7", "--name", "x")
    assert outcome.code == 2
    assert "num_classes" in outcome.last_line
    assert "10" in outcome.last_line
    assert not (tmp_path / "runs" / "x").exists()


def test_a_training_that_diverges_fails_in_one_line(oneforall, tmp_path):
    diverge = ["--model.optimizer.head_lr", "1e30", "--model.optimizer.vector_lr", "1e30", "--run_dir", "run"]
    outcome = oneforall("fit", "--config", QUICKSTART, *SMALL, *diverge)
    assert outcome.code == 1
    assert re.search(r"optimizer step \d+ \(epoch \d, batch \d\): loss nan, largest gradient in ", outcome.last_line)
    for checkpoint in (tmp_path / "run").glob("checkpoints/*.ckpt"):
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


# --- configs -------------------------------------------------------------------------------------------------------


def test_printed_config_prints_itself_again(oneforall, tmp_path):
    printed = oneforall("fit", "--config", QUICKSTART, "--print_config").out
    (tmp_path / "again.yaml").write_text(printed)
    assert oneforall("fit", "--config", "again.yaml", "--print_config").out == printed


def test_the_config_of_a_run_undoes_no_flag(oneforall, finished_run, tmp_path):
    own = ["--config", str(finished_run / "config.yaml")]
    # As earlier versions saved it, and as --print_config prints it
    transient = ("name", "run_dir", "resume", "ckpt_path", "output", "report", "debug", "trust_checkpoint")
    (tmp_path / "printed.yaml").write_text("".join(f"{name}: null\n" for name in transient))
    assert oneforall("test", "--ckpt_path", checkpoint_of(finished_run), "--run_dir", "plain").code == 0
    expected = json.loads((tmp_path / "plain/test_metrics.json").read_text())["test/accuracy"]
    for config in (own, ["--config", "printed.yaml"]):
        before = ["--ckpt_path", checkpoint_of(finished_run), "--run_dir", "tested", "--report", "false"]
        assert oneforall("test", *before, *config).code == 0
        assert json.loads((tmp_path / "tested/test_metrics.json").read_text())["test/accuracy"] == expected
        assert not (tmp_path / "tested/report.html").exists()
        shutil.rmtree(tmp_path / "tested")
    more = ["--ckpt_path", checkpoint_of(finished_run, "last.ckpt"), "--name", "more", "--trainer.max_epochs", "3"]
    assert oneforall("fit", *more, *own, "--trainer.max_epochs", "3").code == 0
    with (tmp_path / "runs/more/metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["2"]  # continued, not begun


def test_a_printed_test_can_be_run_as_it_is(oneforall, finished_run, tmp_path):
    printed = oneforall("test", "--ckpt_path", checkpoint_of(finished_run), "--print_config").out
    (tmp_path / "again.yaml").write_text(printed)
    outcome = oneforall("test", "--config", "again.yaml", "--run_dir", "again")
    assert outcome.code == 0
    assert (tmp_path / "again/test_metrics.json").is_file()


def test_figures_of_another_run_are_not_overwritten(oneforall, finished_run):
    (finished_run.parent / "other").mkdir()
    (finished_run.parent / "other/config.yaml").write_text("seed_everything: 0\n")
    other = str(finished_run.parent / "other")
    outcome = oneforall("test", "--ckpt_path", checkpoint_of(finished_run), "--run_dir", other)
    assert outcome.code == 2
    assert "other is the folder of another run" in outcome.last_line
    shutil.rmtree(other)


def test_a_preset_keeps_callbacks_and_loggers(oneforall, tmp_path):
    (tmp_path / "preset.yaml").write_text(
        "trainer:\n  callbacks+:\n    - class_path: EMA\n"
        "  logger+:\n    - class_path: TensorBoardLogger\n      init_args: {save_dir: ''}\n"
    )
    printed = yaml.safe_load(oneforall("fit", "--config", QUICKSTART, "--config", "preset.yaml", "--print_config").out)[
        "trainer"
    ]
    names = [entry["class_path"].rsplit(".", 1)[-1] for entry in printed["callbacks"]]
    assert names == ["ConfusionMatrix", "ConfidentMistakes", "EMA"]
    assert [entry["class_path"].rsplit(".", 1)[-1] for entry in printed["logger"]] == [
        "MetricsCSV",
        "TensorBoardLogger",
    ]


@pytest.mark.parametrize(("bar", "setting"), [("PlainProgress", "every_n_seconds"), ("RichProgress", "refresh_rate")])
def test_a_progress_bar_of_the_config_takes_the_place_of_the_default(oneforall, monkeypatch, tmp_path, bar, setting):
    shown = []

    def look(self, subcommand):
        shown.append(self.trainer.progress_bar_callback)

    monkeypatch.setattr(cli.OneForAllCLI, "_run_subcommand", look)
    (tmp_path / "bar.yaml").write_text(
        f"trainer:\n  callbacks+:\n    - class_path: {bar}\n      init_args: {{{setting}: 7}}\n"
    )
    assert oneforall("fit", "--config", QUICKSTART, "--config", "bar.yaml").code == 0
    assert oneforall("fit", "--config", QUICKSTART).code == 0
    assert type(shown[0]).__name__ == bar
    assert getattr(shown[0], setting) == 7
    assert type(shown[1]).__name__ == "PlainProgress"
    assert shown[1].every_n_seconds == 30


@pytest.fixture
def loggers(monkeypatch):
    """The loggers of each call of the command line, which then does nothing."""
    seen = []
    monkeypatch.setattr(cli.OneForAllCLI, "_run_subcommand", lambda self, subcommand: seen.append(self.trainer.loggers))
    return seen


def test_a_single_logger_writes_into_the_run_folder(oneforall, loggers):
    assert oneforall("fit", "--config", QUICKSTART, "--trainer.logger", "MetricsCSV").code == 0
    assert oneforall("fit", "--config", QUICKSTART, "--trainer.logger", "false").code == 0
    assert [[logger.save_dir for logger in each] for each in loggers] == [["runs/images"], []]


def test_only_a_fit_has_loggers(oneforall, loggers, finished_run, tmp_path):
    (tmp_path / "preset.yaml").write_text("trainer:\n  logger+:\n    - class_path: WandbLogger\n")
    for subcommand in ("validate", "test", "predict"):
        checkpoint = ["--ckpt_path", checkpoint_of(finished_run)]
        assert oneforall(subcommand, *checkpoint, "--config", "preset.yaml").code == 0
    assert loggers == [[], [], []]


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_16014_20801_a_checkpoint_is_enough_to_test(oneforall, finished_run):
    metrics = (finished_run / "metrics.csv").read_bytes()
    results, pictures = [], []
    for _ in range(2):
        assert oneforall("test", "--ckpt_path", checkpoint_of(finished_run)).code == 0
        results.append((finished_run / "test_metrics.json").read_bytes())
        pictures.append([(finished_run / name).read_bytes() for name in ("mistakes.json", "filters.png")])
    assert results[0] == results[1]
    assert pictures[0] == pictures[1]
    assert (finished_run / "metrics.csv").read_bytes() == metrics
    figures = json.loads(results[0])
    assert figures["examples"] == 360
    if HAS_REPORTS:
        assert f"{figures['test/loss']:.4g}" in (finished_run / "report.html").read_text(encoding="utf-8")
    assert figures["checkpoint"] == "checkpoints/best.ckpt"
    assert "test/accuracy_tta" not in figures  # the quickstart has tta: none


def test_other_figures_and_predictions_keep_the_earlier_ones(oneforall, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("test_*", "predictions*"))
    checkpoint = ["--ckpt_path", "run/checkpoints/best.ckpt"]
    assert oneforall("test", *checkpoint).code == 0
    other = ["--data.split_seed", "1", "--trainer.limit_test_batches", "1"]
    with pytest.warns(UserWarning, match=r"held out than in training \(data.split_seed 1 instead of 0\)"):
        assert oneforall("test", *checkpoint, *other).code == 0
    assert (tmp_path / "run" / "confusion_matrix-1.png").is_file()
    newest, earlier = (
        json.loads((tmp_path / "run" / f"test_metrics{number}.json").read_text()) for number in ("", "-1")
    )
    assert earlier["data"] == newest["data"] == "digits of scikit-learn"
    assert earlier["data_digest"] != newest["data_digest"]
    assert "limit_test_batches" not in earlier
    assert newest["limit_test_batches"] == 1
    assert earlier["checkpoint_step"] in (4, 8)
    assert (tmp_path / "run" / "summary.md").read_text().count("## Test of best.ckpt (step") == 2
    for extra in ([], [], ["--data.split_seed", "1"]):
        assert oneforall("predict", *checkpoint, *extra).code == 0
    assert sorted(path.name for path in (tmp_path / "run").glob("predictions*")) == [
        "predictions-1.csv",
        "predictions.csv",
    ]


def test_pr_21455_a_flag_overrides_the_checkpoint(oneforall, finished_run, tmp_path):
    outcome = oneforall("test", "--ckpt_path", checkpoint_of(finished_run), "--model.tta", "flip", "--run_dir", "other")
    assert outcome.code == 0
    assert "test/accuracy_tta" in json.loads((tmp_path / "other" / "test_metrics.json").read_text())


def test_predict_writes_every_row_in_order(oneforall, finished_run, tmp_path):
    ckpt_path = checkpoint_of(finished_run)
    outcome = oneforall("predict", "--ckpt_path", ckpt_path, "--output", "p.csv")
    assert outcome.code == 0
    assert "predictions: p.csv" in outcome.out
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(360))
    assert sum(float(rows[0][f"p_{digit}"]) for digit in range(10)) == pytest.approx(1, abs=1e-5)
    hits = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    oneforall("test", "--ckpt_path", ckpt_path)
    figures = json.loads((finished_run / "test_metrics.json").read_text())
    assert hits == pytest.approx(figures["test/accuracy"], abs=1e-6)


def test_load_from_checkpoint_needs_nothing_else(finished_run):
    from lightning_modules.image_classifier import ImageClassifier

    module = ImageClassifier.load_from_checkpoint(checkpoint_of(finished_run), weights_only=True)
    assert module.class_names == [str(digit) for digit in range(10)]
    saved = torch.load(checkpoint_of(finished_run), weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in module.state_dict().items())


# --- text ----------------------------------------------------------------------------------------------------------


def test_text_goes_the_same_way(oneforall, tmp_path):
    sizes = ["--data.task.num_train", "64", "--data.task.num_val", "8", "--data.task.num_test", "8"]
    assert oneforall("fit", "--config", SEQ2SEQ, *sizes, "--trainer.max_epochs", "1").code == 0
    folder, ckpt_path = tmp_path / "runs" / "seq2seq", "runs/seq2seq/checkpoints/best.ckpt"

    tested = oneforall("test", "--ckpt_path", ckpt_path)
    assert tested.code == 0
    assert re.search(r"^test exact match \d+\.\d\d%$", tested.out, re.MULTILINE)
    for name in ("tokenizer.json", "samples.md", "attention.png", "test_hypotheses.txt", "test_outputs.jsonl"):
        assert (folder / name).is_file() and re.search(rf"^  {name} ", tested.out, re.MULTILINE), name
    figures = json.loads((folder / "test_metrics.json").read_text())
    assert figures["examples"] == 8
    assert "test/exact_match" in figures
    outputs = [json.loads(line) for line in (folder / "test_outputs.jsonl").read_text().splitlines()]
    assert [output["index"] for output in outputs] == list(range(8))

    (tmp_path / "dates.txt").write_text("the 3rd of May 1977\n\nMonday, 1 June 2020\n")
    predicted = oneforall("predict", "--ckpt_path", ckpt_path, "--data.predict_path", "dates.txt")
    assert predicted.code == 0
    assert "predictions: runs/seq2seq/predictions.txt" in predicted.out
    lines = (folder / "predictions.txt").read_text().split("\n")
    assert len(lines) == 4
    assert lines[1] == lines[3] == ""
