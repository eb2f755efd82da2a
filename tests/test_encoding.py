"""Text files are UTF-8 whatever the locale: every file that the product opens as text names its encoding."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRODUCT = (
    *(path for room in ROOT.glob("*/__init__.py") if room.parent.name != "tests" for path in room.parent.rglob("*.py")),
    *ROOT.glob("*.py"),
    *(ROOT / "scripts").rglob("*.py"),
    *(ROOT / "benchmarks").rglob("*.py"),
)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def unnamed(source: str) -> Iterator[int]:
    """Yield the lines of the calls that open a file as text without naming the encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("read_text", "write_text") and method:
            yield node.lineno
        if name in ("open", "fdopen", "NamedTemporaryFile"):
            position = 0 if method and name == "open" else 1  # of the mode: path.open(mode), open(path, mode)
            given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] or node.args[position:]
            mode = given[0].value if given and isinstance(given[0], ast.Constant) else "r"
            if isinstance(mode, str) and "b" not in mode:
                yield node.lineno


def test_every_text_file_is_opened_with_its_encoding() -> None:
    allowed = ("tarfile.open(", "Image.open(", "os.open(", "webbrowser.open(")
    assert len(PRODUCT) > 200
    found = []
    for path in PRODUCT:
        lines = path.read_text(encoding="utf-8").split("\n")
        bad = [line for line in unnamed("\n".join(lines)) if not any(call in lines[line - 1] for call in allowed)]
        found += [f"{path.relative_to(ROOT)}:{line}" for line in bad]
    assert found == []


def test_every_way_of_opening_is_seen() -> None:
    bad = (
        "open(p)\nopen(p, 'w')\np.open()\np.open('a')\np.read_text()\np.write_text(t)\nopen(p, mode='r')\nos.fdopen(d)"
    )
    good = (
        "open(p, 'rb')\np.open('wb')\np.open(encoding='utf-8')\nread_text(p, 'x')\np.read_bytes()\nopen(p, mode='xb')"
    )
    assert list(unnamed(bad)) == list(range(1, 9))
    assert list(unnamed(good)) == []


def test_the_program_starts_again_in_utf8_mode_where_the_locale_is_another(tmp_path: Path) -> None:
    code = """if True:
        import sys, types
        from command_line.start import main

        def answer():
            print(sys.flags.utf8_mode, sys.argv[-1][-1], open(sys.argv[-1]).read(), sys.stdin.read())

        sys.modules["cli"] = types.SimpleNamespace(main=answer)  # the program itself takes seconds to import
        main()
        """
    (tmp_path / "ü").write_text("ö", encoding="utf-8")
    command = [sys.executable, "-c", code, "fit", "--config", "quickstart/images.yaml"]
    command += ["--run_dir", str(tmp_path / "ü")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))} | ASCII
    done = subprocess.run(command, input="é".encode(), capture_output=True, env=environment, cwd=ROOT, check=False)
    assert done.stdout.decode() == "1 ü ö é\n", done.stderr.decode()
