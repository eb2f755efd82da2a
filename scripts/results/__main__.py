"""The tables and plots of RESULTS.md, regenerated from the files in `results/`: `make results`.

    python -m scripts.results

`scripts.results.collect` copies what they need from a finished run.
"""

from pathlib import Path

from callbacks.plots.drawing import drawing
from scripts.results.plots import PLOTS
from scripts.results.runs import RESULTS, read_runs
from scripts.results.tables import rebuild
from utils.files import atomic_path, write_text

PAGE = Path(__file__).parents[2] / "RESULTS.md"

if __name__ == "__main__":
    runs = read_runs()
    write_text(PAGE, rebuild(PAGE.read_text(encoding="utf-8"), runs))
    for name, draw in PLOTS.items():
        with atomic_path(RESULTS / name) as path, drawing():
            draw(runs).savefig(path, dpi=110)
    print(f"{len(runs)} runs in {PAGE.name}, {len(PLOTS)} plots in {RESULTS.name}/")
