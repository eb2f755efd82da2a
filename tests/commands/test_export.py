"""`oneforall export`: where it writes, what it refuses, and that it exports the weights that `predict` uses."""

import csv
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from command_line.tools import run_tool
from commands.export import check_target
from datamodules.digits import DigitsDataModule
from tests.tiny_runs import command

ROOT = Path(__file__).parents[2]
SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"]
IMAGES = [
    *("fit", "--config", str(ROOT / "configs/quickstart/images.yaml"), *SHORT),
    *("--config", "ema.yaml", "--model.architecture.widths", "[8,8]"),
]
EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.5}\n"
TEXTS = [
    *("fit", "--config", str(ROOT / "configs/quickstart/seq2seq.yaml"), *SHORT, "--data.task.prefix", "date: "),
    *("--model.architecture.config.d_model", "16", "--model.architecture.config.d_ff", "32"),
    *("--data.task.num_train", "200", "--data.task.num_val", "8", "--data.task.num_test", "8"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of images and one of texts."""
    made = tmp_path_factory.mktemp("exports")
    (made / "ema.yaml").write_text(EMA)
    for args in (IMAGES, TEXTS):
        command(*args, folder=made)
    return made / "runs"


@pytest.fixture
def copied(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, the working directory beside it."""
    shutil.copytree(runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def export(*args: str) -> int:
    return run_tool(["export", *args])


def test_the_weights_are_those_of_predict_and_the_lines_say_how_to_run_them(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export("--ckpt_path", "runs/images", "--format", "pt2") == 0
    out = capsys.readouterr().out
    assert out.startswith("exported runs/images/model.pt2 (0.")
    assert "images: uint8 [batch, 3, 32, 32], RGB, 0 to 255" in out
    command("predict", "--ckpt_path", "runs/images")
    with (copied / "images" / "predictions.csv").open() as file:
        predicted = [[float(row[f"p_{k}"]) for k in range(10)] for row in csv.DictReader(file)]
    data = DigitsDataModule()
    data.setup("test")
    program = torch.export.load(copied / "images" / "model.pt2").module()
    probabilities = program(data.test_set.images)["probabilities"]
    assert (probabilities - torch.tensor(predicted)).abs().max() < 1e-4

    from PIL import Image

    Image.new("L", (50, 40), 99).save("image.png")
    run_usage(out)
    assert "tensor([[" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["hf", "ctranslate2"])
def test_text_folders_run_as_the_lines_say(format: str, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip({"hf": "transformers", "ctranslate2": "ctranslate2"}[format])
    assert export("--ckpt_path", "runs/seq2seq", "--format", format) == 0
    out = capsys.readouterr().out
    assert f"exported runs/seq2seq/{format} (" in out
    assert "text of at most 32 tokens, which begins with 'date: '" in out
    assert "'date: A man is sleeping.'" in out
    run_usage(out)


def run_usage(out: str) -> None:
    """Run the lines of Python that an export has printed."""
    lines = out.split("run it in Python:\n")[1].splitlines()
    exec("\n".join(line.removeprefix("  ") for line in lines), {})


def test_nothing_is_replaced_that_was_not_to_be(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, folder = copied / "images" / "model.pt2", copied / "seq2seq" / "hf"
    model.write_text("mine")
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    for run, format in (("images", "pt2"), ("seq2seq", "hf")):
        assert export("--ckpt_path", f"runs/{run}", "--format", format) == 2
        assert "exists: pass --overwrite to replace it, or another --output\n" in capsys.readouterr().err
    assert (model.read_text(), (folder / "config.json").read_text()) == ("mine", "mine")

    assert export("--ckpt_path", "runs/images", "--format", "pt2", "--overwrite") == 0
    assert export("--ckpt_path", "runs/seq2seq", "--format", "hf", "--overwrite") == 0
    assert model.stat().st_size > 1000 and (folder / "model.safetensors").is_file()

    (folder / "notes.txt").write_text("mine")
    assert export("--ckpt_path", "runs/seq2seq", "--format", "hf", "--overwrite") == 2
    assert "runs/seq2seq/hf has other files (notes.txt), which are not replaced" in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "model.safetensors").is_file()


def test_a_place_that_cannot_be_written_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"--output .*/a/b\.onnx would be in .*file, which is not a folder"):
        check_target(tmp_path / "file" / "a" / "b.onnx", "onnx", overwrite=False)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(PermissionError, match=r"--output .*/new/hf cannot be written: no permission in .*; choose"):
        check_target(tmp_path / "new" / "hf", "hf", overwrite=False)
    check_target(tmp_path.parent / "model.pt2", "pt2", overwrite=False)


def test_files_of_other_endings_are_never_written(tmp_path: Path) -> None:
    checkpoint, earlier = tmp_path / "best.ckpt", tmp_path / "model.onnx"
    checkpoint.touch()
    earlier.touch()
    for taken in (checkpoint, tmp_path / "new.json"):  # onnx writes JSON into the latter, which onnxruntime cannot read
        with pytest.raises(
            ValueError, match=rf"{taken.name} must end in \.onnx for --format onnx: choose another file"
        ):
            check_target(taken, "onnx", overwrite=True)
    check_target(earlier, "onnx", overwrite=True)
    with pytest.raises(FileExistsError, match=r"model\.onnx exists: pass --overwrite"):
        check_target(earlier, "onnx", overwrite=False)
    check_target(tmp_path / "new.onnx", "onnx", overwrite=False)


def test_a_folder_that_cannot_be_replaced_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: True)
    (tmp_path / "link").symlink_to("nowhere")
    for target in (Path(), tmp_path, Path("/proc")):
        with pytest.raises(
            IsADirectoryError, match=r"is the working folder or a mount point .*: specify a folder in it"
        ):
            check_target(target, "hf", overwrite=True)
    with pytest.raises(NotADirectoryError, match="link is a file or a broken link: specify a folder"):
        check_target(tmp_path / "link", "hf", overwrite=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("run", "format"), [("images", "pt2"), ("seq2seq", "hf")])
def test_a_signal_leaves_what_was_there(
    run: str, format: str, number: int, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(model: object, place: Path) -> None:
        (place / "config.json" if format == "hf" else place).write_text("half")
        os.kill(os.getpid(), number)
        time.sleep(5)  # the signal ends it

    monkeypatch.setattr("exports.pt2_file.write_pt2", half)
    monkeypatch.setattr("exports.hf_folder.write_hf", half)
    place = copied / run / ("hf" if format == "hf" else "model.pt2")
    earlier = place / "config.json" if format == "hf" else place
    earlier.parent.mkdir(exist_ok=True)
    earlier.write_text("mine")
    before = {path.name for path in (copied / run).iterdir()}
    with pytest.raises(SystemExit) as ended:
        export("--ckpt_path", f"runs/{run}", "--format", format, "--overwrite")
    assert ended.value.code == 128 + number
    assert earlier.read_text() == "mine"
    assert {path.name for path in (copied / run).iterdir()} == before


def test_a_failed_export_leaves_nothing(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.raw_images.LIMIT", -1.0)
    before = {path.name for path in (copied / "images").iterdir()}
    assert export("--ckpt_path", "runs/images", "--format", "pt2") == 2
    assert "not exported" in capsys.readouterr().err
    assert {path.name for path in (copied / "images").iterdir()} == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["images", "--format", "hf"],
            "--format hf does not support the CustomCNN in checkpoint runs/images/checkpoints/best",
        ),
        (["images", "--format", "hf"], "pass --format onnx or pt2"),
        (["seq2seq", "--format", "onnx"], "--format onnx does not support the T5 in checkpoint"),
        (
            ["images", "--format", "onnx", "--quantization", "int8"],
            "--quantization is for --format ctranslate2, not for",
        ),
        (["images", "--format", "pt2", "--output", "."], "--output . is a folder: specify a file in it"),
        (
            ["seq2seq", "--format", "hf", "--output", "file"],
            "--output file is a file or a broken link: specify a folder",
        ),
        (["nothing", "--format", "pt2"], "checkpoint runs/nothing does not exist"),
    ],
)
def test_what_cannot_work_ends_in_one_line(
    args: list[str], message: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert export("--ckpt_path", f"runs/{args[0]}", *args[1:]) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1
