"""The section of tests in summary.md: what was tested, on what, and with which result."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callbacks.text_lines import folded, plain_table
from utils.contracts import CLASS_ACCURACY
from utils.files import write_text

TEST_BEGIN, TEST_END = "<!-- test -->", "<!-- end of test -->"
HEADING = "## Test of "

DIGITS_OF_A_DIGEST = 12
SETTINGS_FROM = "precision"
"""Key of the first setting in a record; `TestMetrics` describes the settings."""


def write_test_section(folder: Path, record: Mapping[str, Any]) -> None:
    """Put a test before the earlier ones in the `summary.md` of a run folder; the same test is replaced.

    Tests are the same if checkpoint, data, number of examples and settings are. The rest of the file is left as it is.

    Args:
        folder: The run folder.
        record: What `test_metrics.json` holds.
    """
    path = folder / "summary.md"
    old = path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.name}\n\n{TEST_BEGIN}{TEST_END}\n"
    before, _, rest = old.partition(TEST_BEGIN)
    tests, _, after = rest.partition(TEST_END)
    new = test_section(record)
    earlier = [each.strip() for each in re.split(f"^(?={HEADING})", tests, flags=re.MULTILINE) if each.strip()]
    kept = [each for each in earlier if _what(each) != _what(new)]
    write_text(path, before + "\n".join([TEST_BEGIN, "\n\n".join([new, *kept]), TEST_END]) + after)


def test_section(record: Mapping[str, Any]) -> str:
    """Return the section of one test: a heading, one paragraph that says what was tested, and the figures."""
    values = {name.removeprefix("test/"): value for name, value in record.items() if name.startswith("test/")}
    classes = {name: value for name, value in values.items() if name.startswith(CLASS_ACCURACY)}
    plain = [name for name in values if name not in classes and not name.endswith("_tta")]
    augmented = any(f"{name}_tta" in values for name in plain)
    header = ("metric", "plain", "test-time augmentation") if augmented else ("metric", "value")
    rows = [
        (f"test/{name}", _text(values[name]), *([_text(values.get(f"{name}_tta", ""))] if augmented else []))
        for name in plain
    ]
    parts = [_heading(record), _circumstances(record), plain_table(header, rows)]
    if classes:
        per_class = [(name.removeprefix(CLASS_ACCURACY), _text(value)) for name, value in classes.items()]
        parts.append(folded("Accuracy per class", plain_table(("class", "accuracy"), per_class)))
    return "\n\n".join(parts)


def _heading(record: Mapping[str, Any]) -> str:
    if record["checkpoint"] is None:
        return f"{HEADING}the model in memory"
    step = record.get("checkpoint_step")
    return f"{HEADING}{Path(record['checkpoint']).name}" + (f" (step {step:,})" if step is not None else "")


def _circumstances(record: Mapping[str, Any]) -> str:
    of = f" of {record['data_examples']:,}" if "data_examples" in record else ""
    parts = [f"{record['examples']:,}{of} examples"]
    if "data" in record:
        parts.append(f"data {record['data']} (sha256 {record['data_digest'][:DIGITS_OF_A_DIGEST]})")
    if "signature" in record:
        parts.append(f"scores {record['signature']}")
    names = list(record)
    parts += [f"{name} {record[name]}" for name in names[names.index(SETTINGS_FROM) :]]
    return "; ".join(parts).replace("\n", " ") + "."


def _what(section: str) -> list[str]:
    """Return what identifies a section: everything before the figures."""
    return section.split("\n\n")[:2]


def _text(value: float | str | None) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:.4f}"
