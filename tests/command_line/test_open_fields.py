"""Which fields a command line sets, and what a resumed run keeps of its checkpoint where it sets none."""

from pathlib import Path
from types import SimpleNamespace

from jsonargparse import Namespace

from command_line.open_fields import fill_open_fields, given_fields
from utils.contracts import CompletesConfig


def test_fields_are_given_by_flags_and_configs_of_any_form(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("model:\n  init_args:\n    architecture: {class_path: ResNet, init_args: {depth: 18}}\n")
    given = given_fields(
        [
            *["fit", "--config", str(config), "--config", "data:\n  init_args:\n    root: a\n"],
            *["--model.architecture.init_args.num_classes=3", "--resume", "--trainer.callbacks+", "EMA"],
            *["--model.optimizer", "{class_path: SGD, init_args: {lr: 0.1}}", "--data.task.prefix", "{odd: "],
        ]
    )
    assert {
        "model.architecture.depth",
        "model.architecture.num_classes",
        "data.root",
        "resume",
        "trainer.callbacks",
        "model.optimizer.lr",
        "data.task.prefix",
    } <= given
    assert not {"model.init_args", "model.architecture.stem", "EMA"} & given


def options(**arguments: object) -> Namespace:
    network = Namespace(class_path="Net", init_args=Namespace(num_classes=10, depth=20))
    model = Namespace(class_path="Model", init_args=Namespace(architecture=network, **arguments))
    return Namespace(model=model, data=Namespace(class_path="Data", init_args=Namespace()))


def checkpoint(**arguments: object) -> dict:
    network = {"class_path": "Net", "init_args": {"num_classes": 3, "depth": 56}}
    return {"model": {"class_path": "Model", "init_args": {"architecture": network, **arguments}}}


def test_a_resumed_run_keeps_what_its_start_filled_in_and_nothing_else() -> None:
    resumed = options(init_from="https://somewhere", init_offline="scratch")
    fill_open_fields(resumed, set(), checkpoint(init_from=None))
    assert resumed.model.init_args.architecture.init_args.as_dict() == {"num_classes": 3, "depth": 20}
    assert resumed.model.init_args.init_from is None

    given = options(init_from="https://somewhere", init_offline="stop")
    fill_open_fields(given, {"model.architecture.num_classes"}, checkpoint(init_from=None))
    assert given.model.init_args.architecture.init_args.num_classes == 10
    assert given.model.init_args.init_from == "https://somewhere"


def test_only_a_class_that_completes_configs_is_asked() -> None:
    assert isinstance(SimpleNamespace(complete=len), CompletesConfig)
    new = options()
    fill_open_fields(new, set(), None)  # a class that is not imported
    assert new.model.init_args.architecture.init_args.num_classes == 10
