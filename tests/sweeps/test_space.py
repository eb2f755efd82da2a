"""Search spaces are read, and a mistake in one names file, line, field and fix."""

from pathlib import Path

import pytest

from sweeps.space import Choices, Range, as_flag, combinations, read_space, short_names

SHIPPED = Path(__file__).parents[2] / "configs" / "sweeps"


def space(tmp_path: Path, text: str) -> dict[str, Range | Choices]:
    (tmp_path / "space.yaml").write_text(text)
    return read_space(tmp_path / "space.yaml")


def test_the_three_forms(tmp_path: Path) -> None:
    read = space(
        tmp_path,
        "# what to try\nmodel.optimizer.lr: [1e-4, 1, log]\nmodel.label_smoothing: [0.0, 0.2]\n"
        "trainer.accumulate_grad_batches: [1, 4]\ndata.batch_size: {choices: [32, 64]}\n"
        "model.architecture.widths:\n  choices: [[8, 8], [16, 16]]\n",
    )
    assert read == {
        "model.optimizer.lr": Range(1e-4, 1, True),
        "model.label_smoothing": Range(0.0, 0.2, False),
        "trainer.accumulate_grad_batches": Range(1, 4, False),
        "data.batch_size": Choices((32, 64)),
        "model.architecture.widths": Choices(("[8, 8]", "[16, 16]")),
    }
    assert [each.whole for each in read.values() if isinstance(each, Range)] == [False, False, True]
    assert combinations(read) is None
    assert combinations({name: each for name, each in read.items() if isinstance(each, Choices)}) == 4


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_file_is_a_space_or_says_how_it_is_used(path: Path) -> None:
    text = path.read_text()
    if "search space" in text.splitlines()[0].lower():
        assert len(read_space(path)) >= 2
    else:
        assert "wandb sweep" in text or f"--config sweeps/{path.name}" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# nothing\n", "has no field; write a line such as `model.optimizer.lr: [0.01, 1.0, log]`"),
        ("\na: [1, 2, 4]\n", "line 2: a: [1, 2, 4] must be [low, high], [low, high, log] or {choices: [...]}"),
        ("a: [1, 2, 4]\n", "to choose one of these values, write {choices: [1, 2, 4]}"),
        ("a: [2, 1]\n", "line 1: a: the lower bound 2 is not below the upper bound 1"),
        ("a: [0, 1, log]\n", "a logarithmic scale cannot include 0; give a lower bound above 0, or leave out log"),
        ("a: [x, y]\n", "the bound x is not a number; for names, write {choices: [...]}"),
        ("a: [.inf, 1]\n", "is not a finite number"),
        (f"a: [1, {'9' * 400}]\n", "is not a finite number"),
        ("a: {choices: [2026-01-01, x]}\n", "2026-01-01 is neither text nor numbers, as YAML reads it; put it"),
        ("a: {choices: [[2026-01-01], x]}\n", "is neither text nor numbers, as YAML reads it; put it into quotes"),
        ("a: {choices: [.nan, 1]}\n", "line 1: a: nan cannot be chosen; remove it"),
        ("a: [true, 2]\n", "the bound True is not a finite number"),
        (
            "a: 0.1\n",
            "0.1 is a single value; write [low, high], [low, high, log] or {choices: [...]}, or pass it as a flag: "
            "--a 0.1",
        ),
        ("a: {choices: [1]}\n", "choices must be a list of at least two values"),
        ("a: {choices: [1, 2, 1]}\n", "contains a value twice (1, 1.0 and true are equal); remove one"),
        ("a: {choices: [1, 1.0]}\n", "contains a value twice"),
        ("a: {choices: [true, 1]}\n", "contains a value twice"),
        ("model:\n  optimizer: {lr: [1, 2]}\n", "write the full name of a field on its line, such as `model.optimizer"),
        ("run_dir: {choices: [a, b]}\n", "run_dir: the sweep sets this itself; remove the line"),
        ("method: bayes\nparameters: {lr: {min: 1, max: 2}}\n", "is a sweep file of W&B: run `wandb sweep "),
        ("a: [1, 2]\na: [1, 3]\n", "line 2: the key a is already in line 1"),
    ],
)
def test_a_mistake_names_file_line_field_and_fix(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"space\.yaml") as error:
        space(tmp_path, text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_space_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not exist; a shipped one is sweeps/lr_and_decay\.yaml"):
        read_space(tmp_path / "none.yaml")


def test_values_become_flags_and_fields_short_names() -> None:
    assert [as_flag("a.b", value) for value in (0.1, 3, True, None, "OneCycle", "[1, 2]")] == [
        *("--a.b=0.1", "--a.b=3", "--a.b=true", "--a.b=null", "--a.b=OneCycle", "--a.b=[1, 2]"),
    ]
    assert short_names({"model.optimizer.lr": 0, "model.head.lr": 0, "data.size": 0, "seed": 0}) == {
        "model.optimizer.lr": "optimizer.lr",
        "model.head.lr": "head.lr",
        "data.size": "size",
        "seed": "seed",
    }
