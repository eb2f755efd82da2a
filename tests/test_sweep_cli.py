"""A sweep as a process: killed and stopped in the middle, it ends with as many trials as it should."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("optuna")

ROOT = Path(__file__).parents[1]
SPACE = "model.optimizer.lr: [0.01, 1.0, log]\nmodel.label_smoothing: [0.0, 0.2]\n"
SMALL = [
    *["--model.architecture.widths", "[4,4,4]", "--model.tta", "none", "--trainer.callbacks", "[]"],
    *["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "4", "--trainer.accelerator", "cpu"],
]


def oneforall(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *args],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[str], trained: Path, number: int) -> None:
    """Send a signal once a file is there, and see that nothing of the process is left."""
    try:
        deadline = time.monotonic() + 900
        while not trained.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        process.wait(300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@pytest.mark.slow
def test_a_sweep_of_8_trials_that_is_killed_and_stopped_has_8_and_names_the_best(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    command = ["sweep", "quickstart/images.yaml", "space.yaml", "--trials", "8", "--name", "s", *SMALL]

    killed = oneforall(tmp_path, *command)
    stop(killed, tmp_path / "runs/s/trial-002/metrics.csv", signal.SIGKILL)
    for number, trial in ((signal.SIGTERM, 4), (signal.SIGINT, 6)):
        stopped = oneforall(tmp_path, *command)
        stop(stopped, tmp_path / f"runs/s/trial-00{trial}/metrics.csv", number)
        out, _ = stopped.communicate()
        assert stopped.returncode == 128 + number
        assert "the trial in progress is saved\nresume:  oneforall sweep " in out
        assert (tmp_path / f"runs/s/trial-00{trial}/checkpoints/last.ckpt").is_file()

    last = oneforall(tmp_path, *command)
    out, err = last.communicate(timeout=1800)
    assert last.returncode == 0, err
    folders = sorted(path.name for path in (tmp_path / "runs/s").glob("trial-*"))
    assert folders == [f"trial-{number:03}" for number in range(1, 9)]
    rows = out.split("\ntrial  val/accuracy")[1].splitlines()[1:9]
    assert sorted(int(row.split()[0]) for row in rows) == list(range(1, 9))

    best = int(rows[0].split()[0])
    assert f"best: trial {best}, " in out
    assert f"test it:  oneforall test --ckpt_path runs/s/trial-{best:03}\n" in out
    assert (tmp_path / f"runs/s/trial-{best:03}/checkpoints/best.ckpt").is_file()
    rate = yaml.safe_load((tmp_path / f"runs/s/trial-{best:03}/config.yaml").read_text())
    assert f"{rate['model']['init_args']['optimizer']['init_args']['lr']:.4g}" in rows[0].split()


@pytest.mark.slow
def test_a_field_that_does_not_exist_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("model.label_smoothing: [0.0, 0.1]\nmodel.optimizer.lrr: [0.1, 1.0]\n")
    sweep = oneforall(tmp_path, "sweep", "quickstart/images.yaml", "space.yaml", "--trials", "2")
    _, err = sweep.communicate(timeout=900)
    assert sweep.returncode == 2
    assert err.startswith("oneforall: error: space.yaml, line 2: there is no option model.optimizer.lrr")
    assert "did you mean model.optimizer.lr?" in err
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_several_seeds_as_a_process(tmp_path: Path) -> None:
    fit = oneforall(tmp_path, "fit", "--config", "quickstart/images.yaml", *SMALL, "--name", "x", "--seeds", "0..1")
    out, err = fit.communicate(timeout=1800)
    assert fit.returncode == 0, err
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("mean ", "spread "))] == ["mean", "spread"]
    test = oneforall(tmp_path, "test", "--ckpt_path", "runs/x", "--seeds", "0,1")
    out, err = test.communicate(timeout=1800)
    assert test.returncode == 0, err
    assert "test/accuracy" in out
