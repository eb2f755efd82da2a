"""What needs no library is answered before any is imported."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from command_line.mistakes import mistake_in, mistake_in_command
from command_line.start import answer_early

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        answer_early(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"oneforall {version('one-for-all')}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["a command is missing", "fit (train)", "--config quickstart/images.yaml"]),
        (["train", "--config", "x.yaml"], ["no command train", "did you mean fit?"]),
        (["predikt"], ["did you mean predict?"]),
        (["zzz"], ["no command zzz", "validate"]),
        (["--config", "x.yaml", "fit"], ["the command comes first, before --config"]),
    ],
)
def test_a_wrong_command_ends_in_one_line(
    args: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        answer_early(args)
    line = capsys.readouterr().err
    assert leaving.value.code == 2
    assert line.count("\n") == 1
    assert all(word in line for word in words), line


def test_commands_and_help_pass() -> None:
    assert not any(map(mistake_in_command, (["fit"], ["test", "-h"], ["-h"], ["--help"], ["predict", "--x"])))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("fit", "needs model and data; pass a config, such as `oneforall fit --config quickstart/images.yaml`"),
        ("fit mine.yaml --name x", "a config is passed with --config: oneforall fit --config mine.yaml"),
        ("fit --config nowhere.yaml", "config nowhere.yaml does not exist, neither as a file nor among the shipped"),
        ("fit --config cifar10/resnet20.yml", "did you mean cifar10/resnet20.yaml?"),
        ("fit --config empty.yaml", "config empty.yaml is empty"),
        ("fit --config quickstart/images.yaml --nmae x", "there is no option nmae; did you mean name?"),
        (
            "fit --config quickstart/images.yaml --max_epochs=3",
            "no option max_epochs; did you mean trainer.max_epochs?",
        ),
        ("fit --config quickstart/images.yaml --mode min", "no option mode; did you mean checkpoint.mode?"),
        ("test", "oneforall test needs a checkpoint: pass --ckpt_path runs/NAME/checkpoints/best.ckpt"),
        ("predict --ckpt_path nowhere.ckpt", "checkpoint nowhere.ckpt does not exist"),
        ("fit --ckpt_path=nowhere.ckpt", "checkpoint nowhere.ckpt does not exist"),
        ("validate --ckpt_path .", "--ckpt_path . is a folder without checkpoints/best.ckpt or last.ckpt"),
        *(
            (f"{command} --ckpt_path there.ckpt --name ../x", "--name ../x is outside runs/; pass a name within it")
            for command in ("fit", "validate", "test", "predict")
        ),
        *(
            (
                f"{option}= --ckpt_path there.ckpt",
                f"{option.split()[-1]}: the path is empty, perhaps because a shell variable",
            )
            for option in (
                *("test --ckpt_path", "test --run_dir", "predict --output", "fit --config", "fit --debug --run_dir"),
                *("fit --data.root", "predict --data.predict_path", "fit --data.init_args.train_file"),
                *("fit --model.init_from", "fit --data.cache_dir"),
            )
        ),
        ("fit --ckpt_path there.ckpt --name=", "--name '' is runs/ itself; pass a name within it"),
        ("fit --resume --name=a/../../x", "--name a/../../x is outside runs/"),
        ("fit --resume --run_dir run2", "there is no run in run2 (it has no config.yaml): check --run_dir or --name"),
        ("fit --resume --name run2", "there is no run in runs/run2 (it has no config.yaml)"),
        ("fit --resume false", "needs model and data; pass a config"),
        ("fit --resume_checkpoint.every_n_seconds 5", "needs model and data; pass a config"),
        ("fit --resume", "--resume needs a run: pass --run_dir DIR or --name NAME, or the --config"),
        ("test --ckpt_path pointer.ckpt", "pointer.ckpt is a pointer of git-lfs"),
    ],
)
def test_a_mistake_that_needs_no_parser(
    args: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.yaml").touch()
    Path("there.ckpt").touch()
    Path("pointer.ckpt").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SystemExit) as leaving:
        answer_early(args.split())
    assert leaving.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("oneforall: error: ") and line.count("\n") == 1
    assert words in line


@pytest.mark.parametrize(
    "args",
    [
        "fit --config quickstart/images.yaml --model.architecture ResNet --data.batch_size 8",
        "fit --config quickstart/images.yaml --trainer.callbacks+ EMA --checkpoint.mode=min --resume",
        "fit --model ImageClassifier",  # lacks the data, which the parser says with what they may be
        "fit --run_dir run --resume",
        "fit --print_config",
        "test --config quickstart/images.yaml --print_config",
        "test --ckpt_path there.ckpt --verbose false",
        "predict --ckpt_path run --output x --return_predictions false",
        "fit --config quickstart/images.yaml --lr 0.1",  # which option is meant, only the classes tell
        "fit --config nowhere.yaml --debug",  # the traceback begins where the config is looked for
        "fit --config nowhere.yaml --model.help ResNet",
    ],
)
def test_all_else_is_left_to_the_parser(args: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/config.yaml").touch()
    for path in ("there.ckpt", "run/checkpoints/last.ckpt"):
        Path(path).touch()
    assert mistake_in(args.split()) is None


ANSWERS = ["--version", "--help", "fit --help", "test -h"]
MISTAKES = ["", "trian", "fit", "fit --config no.yaml", "fit --name x --resme", "test --ckpt_path no"]


@pytest.mark.parametrize(("args", "code"), [*((args, 0) for args in ANSWERS), *((args, 2) for args in MISTAKES)])
def test_no_library_is_imported_for_an_early_answer(args: str, code: int) -> None:
    """Neither torch nor Lightning nor anything that takes as long: all answers need a tenth of a second."""
    program = (
        "import atexit, resource, sys\n"
        "sys.argv = ['oneforall', *sys.argv[1:]]\n"
        "usage = lambda: resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'torch', 'lightning', 'numpy', 'jsonargparse'}\n"
        "atexit.register(lambda: print(heavy & set(sys.modules), usage().ru_utime + usage().ru_stime))\n"
        "from command_line.start import main; main()"
    )
    command = [sys.executable, "-c", program, *args.split()]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    imported, seconds = answer.stdout.splitlines()[-1].rsplit(" ", 1)
    assert answer.returncode == code
    assert imported == "set()"
    assert float(seconds) < 1


@pytest.mark.parametrize("start", [["-m", "cli"], ["cli.py"]], ids=["module", "file"])
def test_every_way_to_start_answers_early(start: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", *start, "fit"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 2
    assert "needs model and data" in answer.stderr.splitlines()[-1]
    assert "torch" not in answer.stderr
