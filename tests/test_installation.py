"""What people install by says what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def versions() -> set[str]:
    return {name.rsplit(" ", 1)[-1] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}


def extras_in(text: str) -> set[str]:
    return {name for found in re.findall(r"\.\[([\w,]+)\]", text) for name in found.split(",")}


def test_the_conda_environment() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, _, pip = environment["dependencies"]
    assert python.removeprefix("python=") in versions()
    assert extras_in(pip["pip"][-1]) <= set(EXTRAS)


def test_the_docker_image() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", lines, re.MULTILINE))
    assert arguments["PYTHON"] in versions()
    assert arguments["DEVICE"] == "cpu"
    assert set(arguments["EXTRAS"].split(",")) <= set(EXTRAS)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    needed = [
        PROJECT["readme"],
        *PROJECT["license-files"],
        "pyproject.toml",
        "cli.py",
        "configs",
        "command_line",
        "utils",
    ]
    assert not set(needed) & set(ignored)
    assert all((ROOT / name).exists() for name in needed)


def test_the_extras_that_the_readme_and_the_pages_name() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert {"completion", "tensorboard"} <= extras_in(readme)
    assert {"export", "sweep"} <= extras_in(pages)
    assert extras_in(readme + pages) <= set(EXTRAS)
    table = readme[readme.index("| Extra |") :].split("\n\n")[0]
    cells = "".join(row.split("|")[1] for row in table.splitlines())
    assert set(re.findall(r"`(\w+)`", cells)) == set(EXTRAS) - {"dev", "docs"}
