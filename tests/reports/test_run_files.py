import pytest

from reports.run_files import RunFiles


def test_a_run_as_its_folder_tells_it(fitted):
    run = RunFiles(fitted())
    assert run.name == "run"
    assert run.epochs == 3
    assert run.monitor == "val/accuracy"
    assert run.scores["val/accuracy"] == (0.9, 0.9, 3)
    assert run.config["trainer"]["max_epochs"] == 3
    assert run.summary.state == "Training ended after 3 of 3 epochs."
    assert run.summary.parameters == 1234
    assert run.summary.time == "1 min 05 s"
    assert run.summary.training["hardware"] == "a | b, 2 cores"
    assert run.summary.command == "oneforall fit --config a.yaml"
    assert run.test is None


def test_what_is_no_run_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder; name a run folder"):
        RunFiles(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"is no run folder: config\.yaml and metrics\.csv are missing"):
        RunFiles(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"), [("test_metrics.json", "{"), ("test_metrics.json", "[1]"), ("config.yaml", "a: [")]
)
def test_a_damaged_file_is_named(fitted, name, content):
    folder = fitted()
    (folder / name).write_text(content)
    run = RunFiles(folder)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        _ = (run.test, run.config)


def test_an_empty_folder_with_a_config_has_nothing_else(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    run = RunFiles(tmp_path)
    assert (run.config, run.columns, run.scores, run.epochs, run.monitor) == ({}, {}, {}, 0, None)
    assert run.summary == ("", "", {}, "")
