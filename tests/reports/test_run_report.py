"""report.html, read with Python's HTML parser: what it shows, that it fetches nothing, and that all text is escaped."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports import run_report
from reports.run_report import report_after, write_report
from tests.reports.run_folders import HOSTILE, put

pytest.importorskip("plotly")


class Page(HTMLParser):
    """The text, the scripts, the images and the links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.scripts: list[str] = []
        self.data: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._within: tuple[str, dict] = ("", {})
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self._within = (tag, attributes)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "img":
            self.images.append(attributes["src"])
        if tag == "a":
            self.links.append(attributes["href"])
        if "id" in attributes:
            self.ids.append(attributes["id"])

    def handle_endtag(self, tag):
        self._within = ("", {})

    def handle_data(self, data):
        tag, attributes = self._within
        if tag == "script":
            (self.data if attributes.get("type") == "application/json" else self.scripts).append(data)
        elif tag != "style":
            self.text += data

    @property
    def charts(self) -> dict[str, dict]:
        return {each["title"]: each for each in map(json.loads, self.data) if "series" in each}


def points(chart: dict, label: str) -> tuple[list[float], list[float]]:
    (series,) = [each for each in chart["series"] if each["label"] == label]
    return series["x"], series["y"]


def assert_safe(page: Page) -> None:
    """Nothing is fetched, no handler is set, and the only scripts are Plotly, once, and ours."""
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert not re.match(r"\s*(https?:|//|javascript:)", value), (tag, name, value)
        if name in ("src", "srcset", "data") or (tag, name) == ("link", "href"):
            assert value.startswith("data:"), (tag, name, value)
    plotly, *ours = page.scripts
    assert plotly.lstrip().startswith("/**\n* plotly.js v")
    assert all(script.lstrip().startswith("// ") for script in ours)
    assert "alert(1)" not in "".join(page.scripts)
    policy = next(
        value for tag, name, value in page.attributes if (tag, name) == ("meta", "content") and "src" in value
    )
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_a_tested_run_of_images(images_run):
    page = Page(write_report(images_run))
    assert_safe(page)
    assert page.ids == [
        *("curves", "test", "classes", "mistakes", "calibration", "filters", "settings", "environment", "files"),
    ]
    assert points(page.charts["loss"], "val") == ([1, 2, 3], [0.9, 0.6, 0.5])
    assert points(page.charts["loss"], "train") == ([1, 2, 3], [1.0, 0.7, 0.5])
    assert points(page.charts["learning rate"], "lr") == ([1, 2, 3], [0.1, 0.05, 0.0])
    assert points(page.charts["gradient norm"], "total") == ([1, 2, 3], [3.0, 2.0, 1.0])
    assert points(page.charts["throughput, images per second"], "training") == ([1, 2, 3], [50, 100, 100])
    assert points(page.charts["accuracy over confidence"], "accuracy") == ([0.55, 0.95], [0.6, 0.9])
    assert "expected calibration error 0.05 " in page.text  # (10 * 0.05 + 30 * 0.05) / 40
    assert len(page.images) == 3 * 3 + 1  # each mistake has two heat maps; the filters
    assert all(source.startswith("data:image/png;base64,") for source in page.images)
    assert HOSTILE in page.text  # the name of a class, as text
    assert f"{HOSTILE} → cat" in page.text
    assert "98.7%" in page.text
    assert "in the output of layer3." in page.text
    assert "The first 256 of 300 filters of conv1, the first convolution (3 by 3 pixels)" in page.text
    assert "label_smoothing" in page.text
    assert "oneforall fit --config a.yaml" in page.text
    assert (
        "Training ended after 3 of 3 epochs. CustomCNN: 1,234 parameters, 1,200 trainable; 5,678 multiply-" in page.text
    )
    assert "1 min 05 s, including 0.9 s of validation" in page.text
    assert "a | b, 2 cores" in page.text
    assert {"config.yaml", "metrics.csv", "summary.md", "test_metrics.json"} <= set(page.links)
    assert all((images_run / link).exists() for link in page.links if not link.startswith("#"))
    assert "oneforall test" not in page.text  # nothing is missing


def test_a_tested_run_of_text(text_run):
    page = Page(write_report(text_run))
    assert_safe(page)
    assert page.ids[2:5] == ["examples", "lengths", "attention"]
    assert "nrefs:1|case:mixed" in page.text
    assert page.text.count(HOSTILE) >= 2  # a source and an output
    text = (text_run / "report.html").read_text(encoding="utf-8")
    assert "<del>dog</del>" in text
    assert "<ins>cat</ins>" in text
    (attention,) = [each for each in map(json.loads, page.data) if "layers" in each]
    assert attention["source"][0] == HOSTILE
    assert len(attention["source"]) == 120
    assert page.charts["texts by length"]["x"] == "length in characters"


@pytest.mark.parametrize("kind", ["image_classifier.ImageClassifier", "text_seq2seq.TextSeq2Seq", "char.Other"])
def test_a_run_without_a_test_says_how_to_get_what_is_missing(fitted, kind):
    folder = fitted("not tested", kind=kind)
    for name in ("summary.md", "run.json", "metrics.csv", "throughput.csv"):
        (folder / name).unlink()
    page = Page(write_report(folder))
    assert_safe(page)
    assert f"Not tested yet: oneforall test --ckpt_path '{folder}'" in page.text
    assert "--trainer.callbacks+=GradientNorms" in page.text
    assert ("+=ConfusionMatrix" in page.text) == (kind.startswith("image"))
    assert ("+=AttentionMaps" in page.text) == (kind.startswith("text"))


def test_a_run_without_heat_maps_says_why(images_run):
    def text_with(**fields: str | None) -> str:
        data = json.loads((images_run / "mistakes.json").read_text())
        mistakes = [{key: value for key, value in each.items() if key != "heat"} for each in data["mistakes"]]
        put(images_run / "mistakes.json", {"of": "test", "mistakes": mistakes, **fields})
        return Page(write_report(images_run)).text

    assert f"No heat maps yet: oneforall test --ckpt_path {images_run}" in text_with()  # an older version's file
    assert f"No heat maps: {HOSTILE}" in text_with(heat_stage=None, no_heat=HOSTILE)


def test_a_network_without_convolutions_has_no_filters(images_run):
    put(images_run / "filters.json", {"of": "test", "layer": None})
    (images_run / "filters.png").unlink()
    assert "The network has no convolution." in Page(write_report(images_run)).text
    (images_run / "filters.json").unlink()
    assert "No picture of the first filters: oneforall test" in Page(write_report(images_run)).text


def test_plots_of_an_older_run_are_shown_as_they_are(fitted):
    folder = fitted()
    (folder / "confusion_matrix.png").write_bytes(b"png")
    assert Page(write_report(folder)).images == ["data:image/png;base64,cG5n"]


def test_settings_are_those_that_are_not_the_default(fitted):
    folder = fitted(tta="flip")
    page = write_report(folder).read_text(encoding="utf-8")
    assert "trainer.<wbr>max_<wbr>epochs" in page  # a narrow screen breaks it there
    table = page[page.index('id="settings"') : page.index("Whole config")].replace("<wbr>", "")
    assert '<th scope="row">trainer.max_epochs</th><td>3</td><td>null</td>' in table
    assert "model.label_smoothing" in table
    assert "model.tta" not in table
    assert "trainer.precision" not in table


def test_a_run_never_fails_because_of_its_report(fitted, capsys, monkeypatch):
    folder = fitted()
    report_after(folder)
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    monkeypatch.setattr(run_report, "render", lambda *args, **content: 1 / 0)
    report_after(folder)
    out = capsys.readouterr().out
    assert out.startswith("no report (ZeroDivisionError: division by zero); `oneforall report ")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("confusion_matrix.json", {"of": "test", "classes": ["cat", "dog"], "cells": [[0, 2, 1]]}),
        ("confusion_matrix.json", {"of": "test", "classes": ["cat", "dog"], "cells": [[0, 1]]}),
        ("mistakes.json", {"of": "test", "mistakes": ["cat"]}),
        ("reliability.json", {"of": "test", "bins": [{"examples": 0, "correct": 0, "confidence": 0.5}]}),
        ("attention.json", {"of": "test", "maps": [{"index": 0}]}),
        ("filters.json", {"of": "test"}),
    ],
)
def test_a_file_of_wrong_content_is_named(images_run, name, content):
    put(images_run / name, content)
    with pytest.raises(ValueError, match=re.escape(f"{name} is damaged: ")):
        write_report(images_run)


def test_an_output_of_no_place_is_named(text_run):
    row = '{"index": Infinity, "source": "a", "references": ["b"], "hypothesis": "c"}\n'
    (text_run / "test_outputs.jsonl").write_text(row)
    with pytest.raises(ValueError, match=r"test_outputs\.jsonl line 1 is damaged"):
        write_report(text_run)
