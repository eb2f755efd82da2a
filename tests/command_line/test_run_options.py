from pathlib import Path

import pytest

from command_line.run_options import default_name, named_folder, wanted_folder


@pytest.mark.parametrize(
    ("configs", "name"),
    [
        ([], "resnet"),
        (["configs/cifar10/mine.yaml", "configs/trainer/gpu.yaml"], "mine"),
        (["runs/earlier/config.yaml"], "earlier"),
    ],
)
def test_a_run_is_named_after_its_config_or_its_network(configs, name):
    assert default_name(configs, "architectures.resnet.ResNet") == name


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x"])
def test_a_name_that_leads_out_of_runs_is_refused(name):
    with pytest.raises(ValueError, match=r"is outside runs/; pass a name within it"):
        named_folder(name)


def test_a_name_is_a_folder_in_runs():
    assert named_folder("cifar10/first").as_posix() == "runs/cifar10/first"


def test_the_folder_asked_for_is_run_dir_or_else_that_of_the_name():
    assert wanted_folder("c", "b") == Path("c")
    assert wanted_folder(None, "b") == Path("runs/b")
    assert wanted_folder(None, None) is None
    with pytest.raises(ValueError, match=r"--name '' is runs/ itself"):
        wanted_folder(None, "")
