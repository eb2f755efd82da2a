"""The pages of the documentation that are made from the code and from the README, each time that it is built."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse._typehints import type_to_str
from lightning.pytorch.cli import LightningArgumentParser

from command_line.help_pages import COMMANDS, page
from command_line.options import class_fields
from command_line.parser import Parser
from command_line.tools import TOOLS, parser_of
from scripts.flags import our_classes, parser_of_run

ROOT = Path(__file__).parents[1]

INCLUDED = {
    "README.md": "readme.md",
    "RESULTS.md": "results.md",
    "PERFORMANCE.md": "performance.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that are pages as they are, and what each is called among the generated ones."""

PAGES = {source: f"docs/_generated/{name}" for source, name in INCLUDED.items()}
PAGES["docs/diagrams/README.md"] = "docs/diagrams.md"
"""The page of the site for each file of the repository that is shown there under another name."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")

API = {
    "Networks": [
        "architectures.base",
        "architectures.resnet",
        "architectures.mobilenet_v1",
        "architectures.mobilenet_v2",
        "architectures.mobinet",
        "architectures.custom_cnn",
        "architectures.char_rnn",
        "architectures.t5.model",
    ],
    "Training": [
        "lightning_modules.training_module",
        "lightning_modules.image_classifier",
        "lightning_modules.text_seq2seq",
        "lightning_modules.char_language_model",
        "lightning_modules.optim.schedules",
    ],
    "What modules promise each other": ["utils.contracts", "utils.batches", "utils.random_streams"],
}
"""The modules that code of your own builds on."""


def write_pages(folder: Path) -> None:
    """Write all generated pages into a folder; a page that is as it was keeps its time, so that Sphinx skips it."""
    pages = {name: included(ROOT / source) for source, name in INCLUDED.items()}
    pages |= {"configuration.md": configuration(), "options.md": options(), "api.md": api()}
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def included(source: Path) -> str:
    """Return a Markdown file of the repository as a page: its links lead to pages, or name the file they led to."""

    def rewrite(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        path, hash_, place = target.partition("#")
        if image:
            return f"![{words}](../../{path})"
        if path in INCLUDED:
            return f"[{words}]({INCLUDED[path]}{hash_}{place})"
        if path.startswith("docs/") and path.endswith(".md"):
            inside = path.removeprefix("docs/").replace("diagrams/README.md", "diagrams.md")
            return f"[{words}](../{inside}{hash_}{place})"
        return words if path.strip("/") in words else f"{words} (`{path}`)"

    return LINK.sub(rewrite, source.read_text(encoding="utf-8"))


def linked(text: str, name: str) -> str:
    """Return the source of a page with its links to files of the repository as links to their pages.

    GitHub follows the links as they are written; the site has README.md and its like under other names.

    Args:
        text: The source, Markdown.
        name: The page's path below `docs/`, without its ending.
    """
    folder = posixpath.dirname(f"docs/{name}")

    def rewrite(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        path, hash_, place = target.partition("#")
        page = PAGES.get(posixpath.normpath(posixpath.join(folder, path)))
        return match[0] if image or page is None else f"[{words}]({posixpath.relpath(page, folder)}{hash_}{place})"

    return LINK.sub(rewrite, text)


def options() -> str:
    """Return the page of the commands: the help page of each."""
    helps = {name: page(name) for name in COMMANDS} | {name: parser_of(name).format_help() for name in TOOLS}
    sections = [f"## oneforall {name}\n\n```text\n{text.strip()}\n```" for name, text in helps.items()]
    return "\n\n".join(["# The commands", *sections]) + "\n"


def configuration() -> str:
    """Return the configuration reference: the classes of ours that a config may name, with their fields."""
    parser = parser_of_run("fit")
    parts = [
        "# The configuration",
        "Every class that a config may name by `class_path`, by where it belongs. A field is set in `init_args`, or by "
        "a flag: `--model.label_smoothing 0.1`. torch's and Lightning's own classes are in `oneforall fit --help.all`.",
    ]
    seen: set[str] = set()
    for field, type_ in class_fields(parser).items():
        paths = [path for path in our_classes(type_) if path not in seen]
        seen.update(paths)
        if paths:
            parts += [f"## {field}", *(_class_section(path) for path in paths)]
    parts += ["## Parts of a config without a class path", *(_class_section(path) for path in _sections())]
    return "\n\n".join(parts) + "\n"


def _sections() -> list[str]:
    from callbacks.run.sections import SECTIONS

    return [f"{cls.__module__}.{cls.__name__}" for name, cls in SECTIONS.items() if name != "trainer"]


def _class_section(path: str) -> str:
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
    return "\n\n".join([f"### {name}", f"`{path}`: {_markdown(summary)}", *_fields(cls)])


def _fields(cls: type) -> Iterator[str]:
    parser: LightningArgumentParser = Parser(exit_on_error=False)
    with contextlib.suppress(Exception):  # a class that no config can name has nothing to set
        parser.add_class_arguments(cls, fail_untyped=False)
    for action in parser._actions:
        typehint = getattr(action, "_typehint", None)
        plain = typehint is None and action.type in (str, int, float, bool)
        if typehint is not None or plain:
            kind = type_to_str(typehint) if typehint is not None else action.type.__name__
            text = re.sub(r"\s*\([^()]*default: .*\)$|%\([^)]*\)s", "", str(action.help or ""), flags=re.DOTALL)
            place = f"`{action.dest}` (`{kind}`, default `{_default(action.default)}`)"
            yield f"{place}\n: {_markdown(text) or 'See the class.'}"


def _default(value: Any) -> str:
    if isinstance(value, Namespace):
        value = value.as_dict()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _markdown(text: str) -> str:
    """Return a docstring's text on one line, without what Markdown would take for its own outside of code."""
    parts = re.split(r"(`+[^`]*`+)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]$])", r"\\\1", part) for part in parts)


def api() -> str:
    """Return the page of the classes and functions that code of your own builds on."""
    parts = ["# The API", "Generated from docstrings; everything else is for the program itself and may change."]
    for title, modules in API.items():
        parts.append(f"## {title}")
        for module in modules:
            parts.append(f"### {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```")
    return "\n\n".join(parts) + "\n"
