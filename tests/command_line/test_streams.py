"""A reader that leaves, and a stream that was closed before the start, do not end a run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """if True:
    import sys, time
    from pathlib import Path
    from command_line.streams import mend_streams
    mend_streams()
    for step in range(2000):
        print("step", step, flush=True)
        print("warning", step, file=sys.stderr, flush=True)
    print("x" * 100_000)
    Path("done").write_text("1")
    """


@pytest.mark.parametrize("how", ["| head -1", "2>&1 | head -1", ">&-", "2>&-", ">&- 2>&-", ">/dev/null"])
def test_a_run_goes_on_without_its_streams(how: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(RUN)
    command = f'{{ "{sys.executable}" "{program}"; echo $? > code; }} {how}'
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (tmp_path / "done").read_text() == "1"  # and no output of the program is in it
    assert (tmp_path / "code").read_text().strip() == "0"
    assert "Traceback" not in answer.stderr
    assert "BrokenPipe" not in answer.stderr


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("utf-8", "café caf\\xe9 \\ud800"),
        ("utf-8:strict", "café caf\\xe9 \\ud800"),
        ("ascii", "caf\\xe9 caf\\xe9 \\ud800"),
    ],
)
def test_text_that_a_stream_has_no_bytes_for_is_escaped(encoding: str, line: str) -> None:
    program = (
        "import sys; from command_line.streams import mend_streams; mend_streams()\n"
        r"for stream in (sys.stdout, sys.stderr): print('caf\xe9 caf\udce9 \ud800', file=stream)"
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8")
    assert (answer.stdout, answer.stderr) == (f"{line}\n", f"{line}\n")
