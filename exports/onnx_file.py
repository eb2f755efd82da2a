"""Export of image classifiers to ONNX files, which onnxruntime runs in many languages and on many devices."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from exports.exported import Exported, require
from exports.raw_images import (
    INPUT,
    OUTPUTS,
    READ_IMAGE,
    cannot_export,
    compare,
    describe_input,
    describe_outputs,
    program_of,
)
from oneforall.image_model import ImageModel


def write_onnx(model: ImageModel, path: Path) -> Exported:
    """Write a classifier as an ONNX file, and compare it with the classifier.

    The file's metadata contains `class_names`, a JSON list, and `input`, a description.

    Args:
        model: The trained classifier.
        path: The file.

    Raises:
        ValueError: A package is missing, the network cannot be exported, or outputs differ.
    """
    require("onnx", "onnxruntime", "onnxscript")
    program = program_of(model)
    try:
        exported = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes={INPUT: {0: "batch"}},
            verbose=False,
        )
    except Exception as error:  # a user's own network may raise anything
        raise cannot_export(model, error) from error
    assert exported is not None
    exported.model.metadata_props.update(
        class_names=json.dumps(model.class_names, ensure_ascii=False), input=describe_input(model)
    )
    exported.save(path, external_data=False)
    return Exported(
        takes=describe_input(model),
        gives=f"{describe_outputs(model)}; the metadata contain class_names, a JSON list",
        checked=compare(model, lambda images: _run(path, images), "onnxruntime"),
        usage=(
            *(line.format(size=model.size) for line in READ_IMAGE),
            "import onnxruntime",
            'session = onnxruntime.InferenceSession("PATH")',
            f'print(session.run(["{OUTPUTS[0]}"], {{"{INPUT}": images}}))',
        ),
    )


def _run(path: Path, images: Tensor) -> dict[str, Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, map(torch.from_numpy, session.run(OUTPUTS, {INPUT: images.numpy()})), strict=True))
