"""Reading checkpoint files that may be damaged, foreign, or hostile."""

import atexit
import re
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml

CONFIG_SUFFIX = ".checkpoint-config.yaml"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of this program without running anything that it may contain.

    Tensors are mapped from the file rather than loaded, so a look at the config of a large one costs nothing.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, would run code, or was not written by `oneforall fit`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; pass --ckpt_path runs/NAME/checkpoints/best.ckpt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        raise ValueError(
            f"checkpoint {path} cannot be read ({_reason(error)}); use another one, such as previous.ckpt beside it"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "config" not in checkpoint:
        raise ValueError(
            f"checkpoint {path} was not written by `oneforall fit` (it has no config); to start from its weights pass "
            f"--model.init_from {path}"
        )
    return checkpoint


def write_config_of(path: str | Path) -> str:
    """Writes the config that a checkpoint carries into a file that lasts as long as this process, and names that file.

    Raises:
        FileNotFoundError, ValueError: As `read_checkpoint`.
    """
    config = read_checkpoint(path)["config"]
    with tempfile.NamedTemporaryFile("w", suffix=CONFIG_SUFFIX, delete=False) as file:
        yaml.safe_dump(config, file, sort_keys=False)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name


def misfit(path: str | Path, error: RuntimeError) -> str | None:
    """What torch says of weights that do not fit a model, in one line: the file and the first names that differ.

    None for an error of another kind.
    """
    first, *lines = str(error).splitlines() or [""]
    if not first.startswith("Error(s) in loading state_dict"):
        return None
    problems: list[str] = []
    for line in lines:
        kind = "missing" if "Missing key" in line else "unexpected"
        names = re.findall(r'"([^"]+)"', line)
        problems += [f"{kind} {name}" for name in names] or [line.strip().rstrip(".")]
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return (
        f"the weights in {path} do not fit the model ({'; '.join(problems[:3])}{more}); leave out the flags of "
        "--model that differ from the run it is from"
    )


def _reason(error: Exception) -> str:
    if "Weights only load failed" in str(error):
        return "it is no plain data: loading it could run code"
    return f"it is damaged or cut short: {type(error).__name__}"


def is_sound(path: Path) -> bool:
    """Whether a checkpoint can be resumed from: complete, checksums right, and ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        return "loops" in read_checkpoint(path)
    except Exception:  # zipfile has many for a damaged archive, EOFError and NotImplementedError among them
        return False


def newest_sound_checkpoint(run_dir: Path) -> str | None:
    """The checkpoint that `--resume` goes on from, or None for a run that has none yet.

    Warns:
        UserWarning: The newest one is damaged and the one before is taken.

    Raises:
        ValueError: There are checkpoints but none is sound; starting again would overwrite them.
    """
    candidates = [run_dir / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
    present = [path for path in candidates if path.is_file()]
    for path in present:
        if is_sound(path):
            return str(path)
        warnings.warn(f"{path} is damaged and is passed over", stacklevel=2)
    if present:
        raise ValueError(f"no checkpoint in {run_dir / 'checkpoints'} is sound; remove them to start the run again")
    return None
