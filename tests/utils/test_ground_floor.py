"""What the modules of `utils` import, directly or not: none of the other packages of this program."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = {
    *("architectures", "callbacks", "cli", "command_line", "commands"),
    *("datamodules", "exports", "lightning_modules", "oneforall", "sweeps"),
}

# In a fresh interpreter: the packages that torch brings, those with the modules that architectures/ uses, and those
# with all modules.
CODE = """
import importlib, json, pathlib, sys

def packages(*names):
    for name in names:
        importlib.import_module(name)
    return sorted({name.partition(".")[0] for name in sys.modules})

torch = packages("torch")
for_networks = packages("utils.batches", "utils.checks")
modules = ["utils." + path.stem for path in pathlib.Path("utils").glob("*.py") if path.stem != "__init__"]
print(json.dumps([torch, for_networks, packages(*modules), modules]))
"""


def test_utils_imports_no_other_room_and_what_networks_use_only_torch():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    torch, for_networks, everything, modules = json.loads(done.stdout)
    assert {"utils.files", "utils.batches", "utils.contracts"} <= set(modules)
    assert set(for_networks) - set(torch) <= {"utils", *sys.stdlib_module_names}
    assert not set(everything) & ROOMS
