"""Export of image classifiers to .pt2 files of torch.export, which need torch but not our code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

from exports.exported import Exported
from exports.raw_images import (
    OUTPUTS,
    READ_IMAGE,
    compare,
    describe_input,
    describe_outputs,
    program_of,
)
from oneforall.image_model import ImageModel

NAMES_FILE = "class_names.json"
"""Name, within a .pt2 file, of the list of class names."""


def write_pt2(model: ImageModel, path: Path) -> Exported:
    """Write a classifier as a .pt2 file, and compare it with the classifier.

    Args:
        model: The trained classifier.
        path: The file.

    Raises:
        OSError: The file cannot be written.
        ValueError: The network cannot be exported, or outputs differ.
    """
    names = json.dumps(model.class_names, ensure_ascii=False)
    content = io.BytesIO()  # torch requires the ending .pt2, and on a full disk raises its own kind of error
    torch.export.save(program_of(model), content, extra_files={NAMES_FILE: names})
    path.write_bytes(content.getbuffer())
    with path.open("rb") as file:
        program = torch.export.load(file).module()
    return Exported(
        takes=describe_input(model),
        gives=f"{describe_outputs(model)}, by name; the extra file {NAMES_FILE} has the class names",
        checked=compare(model, program, "torch.export"),
        usage=(
            *(line.format(size=model.size) for line in READ_IMAGE),
            "import torch",
            'program = torch.export.load("PATH").module()',
            f'print(program(torch.tensor(images))["{OUTPUTS[0]}"])',
        ),
    )
