"""Which precision `auto` stands for, by what Linux and torch say of a machine."""

import pytest
import torch

from utils import precision
from utils.precision import preferred_precision

MACHINES = [
    ({"vendor_id": "GenuineIntel", "flags": "fpu avx512f avx512_bf16 amx_bf16 amx_tile"}, "bf16-mixed"),
    ({"vendor_id": "GenuineIntel", "flags": "fpu avx512f avx512_bf16"}, "32-true"),
    ({"vendor_id": "AuthenticAMD", "flags": "fpu avx512f avx512_bf16"}, "bf16-mixed"),
    ({"vendor_id": "AuthenticAMD", "flags": "fpu avx2"}, "32-true"),
    ({}, "32-true"),  # not Linux
]


@pytest.mark.parametrize(("facts", "expected"), MACHINES)
def test_of_a_processor(facts: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_facts", lambda: facts)
    assert preferred_precision("cpu") == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert preferred_precision("auto") == expected


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_of_a_gpu_is_that_of_its_own_instructions(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    for accelerator in ("auto", "gpu", "cuda"):
        assert preferred_precision(accelerator) == expected


def test_of_anything_else_is_the_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for accelerator in ("auto", "mps", "tpu", object()):
        assert preferred_precision(accelerator) == "32-true"
