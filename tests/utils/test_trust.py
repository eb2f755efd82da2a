"""The gate for configs of checkpoints: what it admits, and that deciding runs, imports and writes nothing."""

import random
import sys
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from architectures.base import ImageClassifierNet
from command_line.parser import Parser
from command_line.process import import_packages
from lightning_modules.image_classifier import ImageClassifier
from tests.utils.carried_config import COMMANDS, RUN, changed, config
from utils.checkpoint_config import taken_config
from utils.trust import LIBRARIES, PACKAGES, Refusal, parameters_of, resolve

FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
    "shutil.copyfile",
    "subprocess.Popen",
    "socket.connect",
    "urllib.Request",
    "webbrowser.open",
    "ctypes.dlopen",
}
events: list[str] = []
watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what runs, imports or writes; Python has no way to take an audit hook away again."""
    if not watching:
        return
    if event in FORBIDDEN:
        events.append(event)
    if event == "import" and str(arguments[0]).partition(".")[0] not in PACKAGES:
        events.append(f"import {arguments[0]}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        events.append(f"open {arguments[0]}")


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a stranger, which leaves a trace when it is imported; classes of it would fit in every place."""
    import_packages(PACKAGES)
    (tmp_path / "stranger.py").write_text(
        "import pathlib, architectures.base, torch\n"
        f"pathlib.Path({str(tmp_path / 'trace')!r}).touch()\n"
        "class Net(architectures.base.ImageClassifierNet): pass\n"
        "class Descent(torch.optim.SGD): pass\n"
        "def net(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    assert not (tmp_path / "trace").exists()
    assert "stranger" not in sys.modules


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a config."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def class_paths(value: Any) -> Iterator[str]:
    """Yield every class that a config names."""
    if isinstance(value, dict):
        yield from [value["class_path"]] if "class_path" in value else []
        for each in value.values():
            yield from class_paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from class_paths(each)


# --- attacks -------------------------------------------------------------------------------------------------------

OPTIMIZER = ("model", "init_args", "optimizer")
ARCHITECTURE = ("model", "init_args", "architecture")

ATTACKS = {
    "a function as optimizer": (OPTIMIZER, RUN, "model.optimizer names 'os.system'"),
    "another function": (OPTIMIZER, {"class_path": "subprocess.getoutput"}, "names 'subprocess.getoutput'"),
    "a function by name": (OPTIMIZER, "os.system", "model.optimizer is 'os.system'"),
    "a module that is not imported": (OPTIMIZER, {"class_path": "stranger.Descent"}, "names 'stranger.Descent'"),
    "a list of functions": (OPTIMIZER, [RUN], "model.optimizer is"),
    "a class path that is none": (OPTIMIZER, {"class_path": ["os.system"]}, "names ['os.system']"),
    "no class path": (OPTIMIZER, {"class_path": None}, "names None"),
    "a module in a module": (
        ARCHITECTURE,
        {"class_path": "callbacks.run.run_folder.os.system"},
        "run_folder.os.system",
    ),
    "a class that a module imports": (ARCHITECTURE, {"class_path": "callbacks.run.run_folder.Path"}, "run_folder.Path"),
    "a function of a module": (
        ARCHITECTURE,
        {"class_path": "utils.files.write_text"},
        "names 'utils.files.write_text'",
    ),
    "a function of the list": (OPTIMIZER, {"class_path": "torch.optim.swa_utils.update_bn"}, "swa_utils.update_bn"),
    "a class of another kind": (
        OPTIMIZER,
        {"class_path": "callbacks.weight_averaging.EMA"},
        "is not a subclass of Optimizer",
    ),
    "a class at a number": ((*OPTIMIZER, "init_args", "lr"), RUN, "model.optimizer.lr"),
    "a name at a number": ((*OPTIMIZER, "init_args", "lr"), "os.system", "model.optimizer.lr is 'os.system'"),
    "keywords without a signature": (
        OPTIMIZER,
        {"class_path": "torch.optim.SGD", "dict_kwargs": {"lr": RUN}},
        "model.optimizer is",
    ),
    "an argument that is none": (
        (*ARCHITECTURE, "init_args", "__path__"),
        "/etc/passwd",
        "is not an argument of CustomCNN",
    ),
    "a function as learning-rate factor": (
        ("model", "init_args", "schedule"),
        {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "os.system"}},
        "model.schedule.lr_lambda",
    ),
    "YAML in a string": (ARCHITECTURE, "{class_path: os.system}", "model.architecture is"),
    "a file of the net": (ARCHITECTURE, "https://example.org/config.yaml", "model.architecture is"),
    "a class as augmentation": (("data", "init_args", "augmentation"), RUN, "data.augmentation names 'os.system'"),
    "a class as data": (("data",), {"class_path": "stranger.Net"}, "data names 'stranger.Net'"),
    "a class as model": (("model",), {"class_path": "stranger.Net"}, "model names 'stranger.Net'"),
    "a base class as model": (("model",), {"class_path": "lightning.pytorch.LightningModule"}, "model names"),
    "a callback that calls": (
        ("trainer", "callbacks"),
        [{"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": "os.system"}}],
        "trainer.callbacks[0] names",
    ),
    "a callback of a stranger": (("trainer", "callbacks"), ["stranger.net"], "names 'stranger.net'"),
    "a module with __getattr__": (OPTIMIZER, {"class_path": "torchmetrics.functional.x"}, "functional.x"),
    "a precision that is none": (("trainer", "precision"), RUN, "trainer.precision"),
    "a seed that is none": (("seed_everything",), "os.system", "seed_everything is"),
    "a monitor that is none": (("checkpoint", "monitor"), RUN, "checkpoint.monitor"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_by_name(attack: str) -> None:
    path, value, words = ATTACKS[attack]
    for command in COMMANDS:
        with pytest.raises(
            ValueError, match=r"config in checkpoint a\.ckpt is refused: .*--trust_checkpoint"
        ) as refused:
            taken_config(changed(config(), path, value), command, "a.ckpt")
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)


# --- at random -----------------------------------------------------------------------------------------------------


def importable_callables(draw: random.Random) -> list[str]:
    """Return paths of callables of loaded modules, of modules inside ours, and of modules that are not loaded."""
    by_name = itemgetter(0)  # not by value: the text of a lazily imported module imports it
    modules = [name for name in sorted(sys.modules) if sys.modules[name] is not None and not name.startswith("_")]
    found = [
        f"{module}.{name}"
        for module in draw.sample(modules, 150)
        for name, value in draw.sample(sorted(vars(sys.modules[module]).items(), key=by_name), 1)
        if callable(value)
    ]
    inside = [f"{module}.os.system" for module in modules if module.partition(".")[0] in PACKAGES]
    unloaded = ["antigravity.geohash", "this.s", "stranger.net", "stranger.Net", "stranger.Descent", "idlelib.run.main"]
    return [
        *found,
        *draw.sample(inside, 10),
        *unloaded,
        "os.system",
        "subprocess.getoutput",
        "builtins.exec",
        "shutil.rmtree",
    ]


def disguises(path: str) -> list[Any]:
    """Return the forms in which jsonargparse takes a path for something to import."""
    spec = {"class_path": path}
    return [
        path,
        spec,
        {**spec, "init_args": {"command": "touch trace"}},
        {**spec, "dict_kwargs": {}},
        [spec],
        str(spec),
    ]


@pytest.mark.parametrize("name", ["images", "seq2seq"])
def test_random_callables_in_random_places_run_import_and_write_nothing(name: str) -> None:
    global watching
    draw, whole, refused = random.Random(0), config(name), 0
    callables, everywhere = importable_callables(draw), [*places(whole), (*OPTIMIZER, "init_args", "foreach")]
    for command in COMMANDS:
        taken_config(whole, command, "a.ckpt")  # what is imported once
    events.clear()
    for _ in range(600):
        mutated = whole
        for _ in range(draw.randint(1, 2)):
            try:
                mutated = changed(mutated, draw.choice(everywhere), draw.choice(disguises(draw.choice(callables))))
            except (TypeError, KeyError, IndexError):
                continue  # the place is inside the one just replaced
        watching = True
        try:
            taken = taken_config(mutated, draw.choice(COMMANDS), "a.ckpt")
        except ValueError:
            refused += 1
        else:
            for path in class_paths(taken):
                module, _, class_name = path.rpartition(".")
                assert module.startswith((*PACKAGES, *LIBRARIES)), path
                assert isinstance(vars(sys.modules[module])[class_name], type)
        finally:
            watching = False
    assert events == []
    assert refused > 400


def test_what_is_admitted_runs_nothing_when_it_is_built(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings at every place of the model that admits one: jsonargparse must take none for a class or a file."""
    global watching
    monkeypatch.chdir(hostile)
    parser = Parser(exit_on_error=False)
    parser.add_subclass_arguments(ImageClassifier, "model")
    whole, built = config(), 0
    parser.instantiate(parser.parse_object({"model": taken_config(whole, "test", "a.ckpt")["model"]}))
    events.clear()
    for path in [*places(whole["model"]), ("init_args", "init_from")]:
        for value in (*disguises("stranger.net"), *disguises("stranger.Net"), "stranger.py"):
            try:
                taken = taken_config(changed(whole, ("model", *path), value), "test", "a.ckpt")
            except ValueError:
                continue
            watching = True
            try:
                parser.instantiate(parser.parse_object({"model": taken["model"]}))
                built += 1
            finally:
                watching = False
    assert built  # init_from, a file name
    assert events == []


# --- classes -------------------------------------------------------------------------------------------------------


def test_arguments_are_those_of_all_base_classes() -> None:
    parameters = parameters_of(ImageClassifier)
    assert {"architecture", "tta", "optimizer", "seed"} <= parameters.keys()
    assert not {"self", "training", "args", "kwargs"} & parameters.keys()
    assert parameters["architecture"].annotation is ImageClassifierNet


def test_a_bare_name_is_that_of_a_class_of_the_list() -> None:
    class CustomCNN(ImageClassifierNet):  # a stranger's, of the same name
        pass

    assert resolve("CustomCNN", ImageClassifierNet, "field").__module__ == "architectures.custom_cnn"
    with pytest.raises(Refusal, match="names 'Other'"):
        resolve("Other", ImageClassifierNet, "field")
