"""The command line as a user meets it: run folders, checkpoints that describe themselves, resuming, and errors."""

import csv
import importlib.util
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import cli
from command_line.carried_configs import with_checkpoint_config
from command_line.help_pages import help_option

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "configs/quickstart/images.yaml")
SEQ2SEQ = str(ROOT / "configs/quickstart/seq2seq.yaml")
HAS_REPORTS = all(map(importlib.util.find_spec, ("jinja2", "plotly")))
# a net and an epoch small enough for seconds
SMALL = ["--model.architecture.widths", "[8,8,8]", "--trainer.limit_train_batches", "4", "--trainer.max_epochs", "2"]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """The run folder of a small finished run, shared by the tests that only read it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["oneforall"])
        cli.main(["fit", "--config", QUICKSTART, *SMALL, "--run_dir", str(folder)])
    return folder


def checkpoint_of(folder: Path, name: str = "best.ckpt") -> str:
    return str(folder / "checkpoints" / name)


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
    assert all(config[key] is None for key in ("name", "run_dir", "resume", "ckpt_path", "output"))
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
    assert "Traceback" not in outcome.err
    for checkpoint in (tmp_path / "run").glob("checkpoints/*.ckpt"):
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


# --- configs -------------------------------------------------------------------------------------------------------


def test_printed_config_prints_itself_again(oneforall, tmp_path):
    printed = oneforall("fit", "--config", QUICKSTART, "--print_config").out
    (tmp_path / "again.yaml").write_text(printed)
    assert oneforall("fit", "--config", "again.yaml", "--print_config").out == printed


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


# --- mistakes ------------------------------------------------------------------------------------------------------


class Hostile:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--trainer.max_epoch", "3"], ["max_epoch", "trainer.max_epochs"]),
        (["--model.architecture.dept", "20"], ["dept", "depth"]),
        (["--model.architecture", "ResNett"], ["ResNett", "ResNet"]),
        (["--model.architecture", "torch.nn.Linear"], ["torch.nn.Linear", "ImageClassifierNet"]),
        (["--trainer.max_epochs", "three"], ["trainer.max_epochs", "int", "three"]),
        (["--model.architecture.num_classes", "0"], ["num_classes", "at least 1"]),
        (["--model.architecture", "ResNet", "--model.architecture.depth", "19"], ["depth", "19", "18, 20"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (
            ["--data", "CIFAR10DataModule", "--data.root", "nowhere", "--data.download", "false"],
            ["nowhere", "--data.root"],
        ),
        (["--run_dir", f"{__file__}/run"], ["run folder", "--run_dir"]),
        (["--model.init_from", "nowhere.pt"], ["init_from", "nowhere.pt"]),
    ],
)
def test_mistakes_end_in_one_line(oneforall, args, words):
    outcome = oneforall("fit", "--config", QUICKSTART, *args)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert all(word in outcome.last_line for word in words), outcome.last_line


@pytest.mark.parametrize("option", ["--config mine.yaml", "--config=mine.yaml", "-c mine.yaml", "-c=mine.yaml"])
def test_a_misspelt_key_names_its_file(oneforall, tmp_path, option):
    (tmp_path / "mine.yaml").write_text("trainer:\n  max_epoch: 3\n")
    outcome = oneforall("fit", "--config", QUICKSTART, *option.split())
    assert outcome.code == 2
    assert "mine.yaml" in outcome.last_line
    assert "did you mean trainer.max_epochs?" in outcome.last_line


def test_the_last_of_two_checkpoints_is_taken(oneforall, finished_run):
    good = checkpoint_of(finished_run)
    for args in (
        ["--ckpt_path=" + good, "--ckpt_path", "nowhere.ckpt"],
        ["--ckpt_path", good, "--ckpt_path=nowhere.ckpt"],
    ):
        outcome = oneforall("test", *args)
        assert outcome.code == 2
        assert "checkpoint nowhere.ckpt does not exist" in outcome.last_line


@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "foreign", "hostile", "hostile pickle"])
def test_a_bad_checkpoint_ends_in_one_line(oneforall, finished_run, tmp_path, damage):
    bad, trap = tmp_path / "bad.ckpt", tmp_path / "trap"
    if damage == "cut":
        bad.write_bytes(Path(checkpoint_of(finished_run)).read_bytes()[:20_000])
    elif damage == "garbage":
        bad.write_bytes(b"hello" * 1000)
    elif damage == "foreign":
        torch.save({"state_dict": {}}, bad)
    elif damage == "hostile":
        torch.save({"state_dict": {}, "config": {}, "more": Hostile(trap)}, bad)
    elif damage == "hostile pickle":
        bad.write_bytes(pickle.dumps(Hostile(trap)))
    for command in ("test", "predict", "validate", "fit"):
        outcome = oneforall(command, *(["--config", QUICKSTART] if command == "fit" else []), "--ckpt_path", str(bad))
        assert outcome.code == 2
        assert str(bad) in outcome.last_line
        assert "Traceback" not in outcome.err
    assert not trap.exists()


def test_a_checkpoint_of_the_old_layout_says_how_to_go_on(oneforall, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "old")
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(checkpoint_of(finished_run, name), weights_only=True)
        del content["format"]  # version 0.1 had none
        torch.save(content, checkpoint_of(tmp_path / "old", name))
    old = checkpoint_of(Path("old"))
    for command in (["test", "--ckpt_path", old], ["fit", "--config", QUICKSTART, "--run_dir", "old", "--resume"]):
        outcome = oneforall(*command)
        assert outcome.code == 2
        assert "an earlier version of this program" in outcome.last_line
        assert "--model.init_from old/checkpoints/" in outcome.last_line
    fit = ["fit", "--config", QUICKSTART, *SMALL, "--trainer.max_epochs", "1", "--run_dir", "new"]
    assert oneforall(*fit, "--model.init_from", old).code == 0


def test_evaluation_needs_a_checkpoint(oneforall):
    outcome = oneforall("test", "--config", QUICKSTART)
    assert outcome.code == 2
    assert "--ckpt_path" in outcome.last_line


@pytest.mark.parametrize("flag", [["--debug"], ["--debug=true"], ["--debug", "true"], ["--debug", "--name", "x"]])
def test_debug_shows_the_trace(oneforall, flag):
    with pytest.raises(FileNotFoundError):
        oneforall("test", "--ckpt_path", "nowhere.ckpt", *flag)


@pytest.mark.parametrize("flag", [["--debug=false"], ["--debug", "false"]])
def test_debug_may_be_off(oneforall, flag):
    assert oneforall("test", "--ckpt_path", "nowhere.ckpt", *flag).code == 2


def test_weights_that_do_not_fit_end_in_one_line(oneforall, finished_run):
    wider = ["--model.architecture.widths", "[8,8,16]"]
    outcome = oneforall("test", "--ckpt_path", checkpoint_of(finished_run), *wider)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert checkpoint_of(finished_run) in outcome.last_line
    assert "size mismatch for architecture." in outcome.last_line


def test_predictions_to_a_folder_are_refused_at_once(oneforall, finished_run, tmp_path):
    outcome = oneforall("predict", "--ckpt_path", checkpoint_of(finished_run), "--output", str(tmp_path))
    assert outcome.code == 2
    assert f"--output {tmp_path} is a folder" in outcome.last_line


def test_a_monitor_that_is_never_logged_is_named_before_training(oneforall, tmp_path):
    outcome = oneforall("fit", "--config", QUICKSTART, "--checkpoint.monitor", "val/acuracy", "--name", "x")
    assert outcome.code == 2
    assert "did you mean val/accuracy?" in outcome.last_line
    assert not (tmp_path / "runs" / "x").exists()


def test_an_error_of_wandb_ends_in_one_line(oneforall, monkeypatch):
    class LoginError(Exception):
        pass

    def fail(self, subcommand):
        raise LoginError("api_key not configured (no-tty)")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Error=LoginError, finish=lambda exit_code: None))
    monkeypatch.setattr(cli.OneForAllCLI, "_run_subcommand", fail)
    outcome = oneforall("fit", "--config", QUICKSTART)
    assert outcome.code == 2
    assert "wandb: api_key not configured" in outcome.last_line
    assert "wandb_offline.yaml" in outcome.last_line


def test_help_is_asked_for_by_an_option_not_by_a_value():
    for args in (["test", "-h"], ["fit", "--help.all"], ["fit", "--model.help", "X"], ["fit", "--model.help=X"]):
        assert help_option(args)
    assert not help_option(["test", "--ckpt_path", "runs/self-help/checkpoints/best.ckpt"])
    with pytest.raises(FileNotFoundError, match="self-help"):
        with_checkpoint_config(["test", "--ckpt_path", "runs/self-help/checkpoints/best.ckpt"])


# --- the real command, killed and resumed --------------------------------------------------------------------------

IMAGES = [
    *["--config", QUICKSTART, "--model.architecture.widths", "[8,8,8]", "--trainer.max_epochs", "4"],
    *["--model.tta", "none", "--data.augmentation.mixup_alpha", "0.2", "--data.augmentation.flip", "random"],
]
TEXTS = [
    *["--config", SEQ2SEQ, "--model.architecture.config.d_model", "32", "--model.architecture.config.d_ff", "64"],
    *["--model.architecture.config.dropout_rate", "0.1", "--data.tokenizer_model", "bpe", "--data.bpe_dropout", "0.1"],
    *["--data.task.num_train", "2000", "--data.batch_tokens", "1024", "--model.validation_examples", "20"],
    *["--trainer.accumulate_grad_batches", "2", "--trainer.max_epochs", "2"],
]
EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.9}\n"


def command(*args: str) -> list[str]:
    """The installed command: what pip has put beside the interpreter."""
    return [str(Path(sys.executable).with_name("oneforall")), *args]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def same(a, b) -> bool:
    """Whether two nests of plain values and tensors are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.slow
@pytest.mark.first
@pytest.mark.parametrize("recipe", [pytest.param(IMAGES, id="images"), pytest.param(TEXTS, id="texts")])
def test_killed_and_resumed_equals_never_interrupted(tmp_path, recipe):
    (tmp_path / "ema.yaml").write_text(EMA)
    often = ["--resume_checkpoint.every_n_steps", "5", "--resume_checkpoint.every_n_seconds", "1000"]
    fit = ["fit", *recipe, "--config", "ema.yaml", *often]
    subprocess.run(
        command(*fit, "--run_dir", "whole"), cwd=tmp_path, env=environment(), check=True, capture_output=True
    )

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(*fit, "--run_dir", "killed"), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    last, previous = (killed / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    # For a moment both are names of one file, of which a disk would lose both
    while not (previous.exists() and not last.samefile(previous)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    last.write_bytes(last.read_bytes()[:-1000])  # and the disk lost the end of the newest checkpoint

    resumed = subprocess.run(
        command(*fit, "--run_dir", "killed", "--resume"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "last.ckpt is damaged" in resumed.stderr
    assert (killed / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
    states = [
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True) for run in ("whole", "killed")
    ]
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert same(states[0][key], states[1][key]), key
    assert not same(states[0]["state_dict"], states[0]["current_model_state"])  # averaged and raw weights, both kept


def test_resume_starts_where_there_is_nothing_and_stops_where_all_is_done(oneforall, tmp_path):
    fit = ["fit", "--config", QUICKSTART, *SMALL, "--run_dir", "run", "--resume"]
    assert oneforall(*fit).code == 0
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    assert oneforall(*fit).code == 0
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    assert not (tmp_path / "run-2").exists()


def test_resume_with_no_intact_checkpoint_refuses_to_start_again(oneforall, tmp_path, finished_run):
    shutil.copytree(finished_run, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"no checkpoint")
    outcome = oneforall("fit", "--config", QUICKSTART, *SMALL, "--run_dir", "run", "--resume")
    assert outcome.code == 2
    assert "intact" in outcome.last_line


def test_the_installed_command_explains_itself():
    outcome = subprocess.run(command("fit", "--help"), capture_output=True, text=True, env=environment())
    assert outcome.returncode == 0
    assert "--resume" in outcome.stdout
    assert "--run_dir" in outcome.stdout


@pytest.mark.parametrize("start", [["-m", "cli"], ["cli.py"]], ids=["module", "file"])
def test_other_ways_to_start_it_print_no_deprecation_warnings(start):
    outcome = subprocess.run(
        [sys.executable, "-W", "default::DeprecationWarning", *start, "fit", "--config", QUICKSTART, "--print_config"],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    assert outcome.returncode == 0
    assert "model:" in outcome.stdout
    assert "Deprecat" not in outcome.stderr, outcome.stderr
