"""Pages in a real browser, from file://: no errors, every plot drawn, no sideways scrolling on a phone."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from reports.comparison import compare
from reports.comparison_page import write_page
from reports.run_report import write_report

pytest.importorskip("plotly")
pytestmark = pytest.mark.slow

PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const root = document.documentElement;
  drawAll(); // as when the colour scheme changes
  const [first] = document.querySelectorAll(".legend button");
  first.click();
  const hidden = document.querySelectorAll(".chart")[0].querySelectorAll(".trace").length;
  first.click();
  const drawn = [...document.querySelectorAll(".chart")].map((chart) => {
    const { series } = JSON.parse(chart.querySelector("script").textContent);
    const room = chart.querySelector(".main-svg").getBoundingClientRect();
    const traces = [...chart.querySelectorAll(".trace")].filter((trace) => {
      const box = trace.getBoundingClientRect();
      return box.width > 50 && box.left >= room.left && box.right <= room.right;
    });
    const names = [...chart.querySelectorAll(".legend button")].map((entry) => entry.textContent);
    return traces.length === series.length && names.join() === series.map((line) => line.label).join();
  });
  const wide = [...document.querySelectorAll("main *")].filter((element) =>
    !element.closest(".wide, pre, svg") && element.getBoundingClientRect().right > innerWidth + 1);
  const answer = document.createElement("pre");
  answer.id = "probe";
  answer.textContent = JSON.stringify({
    drawn, hidden, width: innerWidth, scroll: root.scrollWidth,
    wide: wide.map((element) => element.outerHTML.slice(0, 80)),
    broken: [...document.images].filter((image) => !image.naturalWidth).length,
    coloured: document.querySelectorAll(".source span[style]").length,
    pressed: document.querySelectorAll('.generated button[aria-pressed="true"]').length,
    requests: performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).length,
  });
  (window.top === window ? document.body : null)?.append(answer);
  parent.postMessage(answer.textContent, "*");
}, 300));
</script>"""

FRAME = """<body style="margin: 0"><iframe src="page.html" style="border: 0; width: {width}px; height: 900px"></iframe>
<script>addEventListener("message", (event) => {{
  const answer = document.body.appendChild(document.createElement("pre"));
  answer.id = "probe";
  answer.textContent = event.data;
}});</script>"""
"""A window has a minimum width, a frame has not."""


def look(chromium: str, page: Path, width: int, folder: Path) -> tuple[dict, list[str]]:
    """Return what the probe measured in a page that is `width` pixels wide, and what the console said."""
    folder.mkdir()
    text = page.read_text(encoding="utf-8")
    (folder / "page.html").write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--enable-logging=stderr"),
        *("--virtual-time-budget=5000", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"),
        f"file://{folder / 'frame.html'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    (answer,) = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        answer = answer.replace(entity, character)
    return json.loads(answer), re.findall(r"CONSOLE.*", done.stderr)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["images", "text", "compare"])
def test_every_plot_is_drawn_and_nothing_is_too_wide(chromium, kind, width, request, fitted, tmp_path):
    if kind == "compare":
        page = tmp_path / "compare.html"
        write_page(compare([fitted("a"), fitted("b", seed=1), fitted("c", tta="none")]), page)
    else:
        page = write_report(request.getfixturevalue(f"{kind}_run"))
    seen, console = look(chromium, page, width, tmp_path / "browser")
    assert console == []
    assert seen["width"] == width
    assert seen["scroll"] <= width
    assert seen["wide"] == []
    assert seen["requests"] == 0
    assert seen["broken"] == 0
    assert len(seen["drawn"]) >= 5
    assert all(seen["drawn"])
    assert seen["hidden"] == (2 if kind == "compare" else 1)  # of the lines of the first chart, one by its legend
    if kind == "text":
        assert seen["coloured"] == 120  # every source token, by the first generated one
        assert seen["pressed"] == 1
