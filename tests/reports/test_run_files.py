import json

import pytest
import yaml

from reports.run_files import RunFiles
from tests.reports.run_folders import RECORD, put


def test_a_run_as_its_folder_tells_it(fitted):
    run = RunFiles(fitted())
    assert run.name == "run"
    assert run.epochs == 3
    assert run.monitor == "val/accuracy"
    assert run.scores["val/accuracy"] == (0.9, 0.9, 3)
    assert run.config["trainer"]["max_epochs"] == 3
    assert run.best == run.scores["val/accuracy"]
    assert (run.time, run.parameters) == ("1 min 05 s", "1,234")
    assert run.record["command"] == "oneforall fit --config a.yaml"
    assert run.test is None


def test_what_is_not_a_run_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder; specify a run folder"):
        RunFiles(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError,
        match=r"is not a run folder: it has neither config\.yaml nor metrics\.csv; specify one, such as runs/resnet20",
    ):
        RunFiles(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test_metrics.json", "{"),
        ("test_metrics.json", "[1]"),
        ("test_metrics.json", "[" * 100_000),
        ("run.json", "{}"),
        ("run.json", json.dumps({**RECORD, "seconds": "long"})),
        ("config.yaml", "a: ["),
        ("config.yaml", "[a]"),
        ("config.yaml", "model: foo"),
        ("config.yaml", "a: &a [*a]"),
        ("config.yaml", "[" * 5000),
        ("config.yaml", "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(9))),
    ],
)
def test_a_damaged_file_is_named(fitted, name, content):
    folder = fitted()
    (folder / name).write_text(content)
    run = RunFiles(folder)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        _ = (run.test, run.config, run.record)


def test_the_field_of_a_wrong_type_is_named(fitted):
    folder = fitted()
    put(folder / "mistakes.json", {"of": "test", "mistakes": [{"true": "cat", "predicted": 3}]})
    with pytest.raises(ValueError, match=r"mistakes\.json is damaged: its entry mistakes\[0\]\.confidence is missing"):
        RunFiles(folder).data("mistakes.json")


def test_an_empty_folder_with_a_config_has_nothing_else(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    run = RunFiles(tmp_path)
    assert (run.config, run.columns, run.scores, run.epochs, run.monitor) == ({}, {}, {}, 0, None)
    assert (run.record, run.time, run.parameters, run.best, run.test_scores) == ({}, "", "", None, {})


def test_the_best_score_is_the_lowest_if_the_config_says_so(fitted):
    folder = fitted()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["checkpoint"] = {"monitor": "val/accuracy", "mode": "min"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert RunFiles(folder).best == (0.9, 0.5, 1)
