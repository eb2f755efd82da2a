"""The documentation: its errors exist in the code, its links lead somewhere, and Sphinx builds it without a warning."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRITTEN = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "_generated" not in page.parts]
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)")
SOURCES = ("callbacks", "command_line", "datamodules", "lightning_modules", "utils")


def headings(page: str) -> list[str]:
    return re.findall(r"^### `(.+)`$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_errors_of_the_faq_are_those_of_the_program() -> None:
    code = "".join(path.read_text(encoding="utf-8") for room in SOURCES for path in (ROOT / room).rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)  # a message that is written on two lines
    assert len(headings("faq.md")) > 10
    assert [words for words in headings("faq.md") if words not in joined] == []


def test_the_map_shows_every_package() -> None:
    drawn = (ROOT / "docs" / "map.svg").read_text(encoding="utf-8")
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "scripts", "tests"}
    assert packages >= {"architectures", "utils"}
    assert [name for name in sorted(packages) if f">{name}/<" not in drawn] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    written = {page for page in pages if not page.startswith(("_generated/", "diagrams/"))} - {"index"}
    assert [page for page in sorted(written) if f"\n{page}\n" not in index] == []


def anchors(page: Path) -> set[str]:
    """Return the names under which GitHub, and the site, find the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *WRITTEN], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    lost = []
    for target in LINK.findall(text):
        path, _, place = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (place and place not in anchors(file)):
            lost.append(target)
    assert lost == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for name in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(name)
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    reference = (tmp_path / "_generated" / "configuration.html").read_text(encoding="utf-8")
    assert "label_smoothing" in reference
    assert "ImageClassifierNet" in (tmp_path / "_generated" / "api.html").read_text(encoding="utf-8")
