"""What `trainer.precision: auto` stands for on this machine."""

from __future__ import annotations

from typing import Any, Final, Literal

import torch

from utils.machine import processor_facts

AUTO: Final = "auto"


def preferred_precision(accelerator: Any = "auto") -> Literal["bf16-mixed", "32-true"]:
    """Return `bf16-mixed` where a device computes products of bfloat16 faster than those of float32, else `32-true`.

    It depends on the kind of machine alone, so all processes of a run agree if their machines are alike.

    Args:
        accelerator: As `trainer.accelerator`: `auto` is the GPU if there is one.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        return "bf16-mixed" if _cpu_is_fast_in_bf16() else "32-true"
    return "32-true"


def _cpu_is_fast_in_bf16() -> bool:
    """Return whether this processor has AMX, or is an AMD with bfloat16 instructions (Zen 4 and later).

    The latter do not suffice elsewhere: an Intel Xeon with `avx512_bf16` and no AMX trained CustomCNN and T5 in bf16 at
    0.7 to 0.8 times the speed of fp32, an AMD EPYC with them at 1.4 to 1.8 times (results/LOG.md).
    """
    facts = processor_facts()
    flags = facts.get("flags", "").split()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and facts.get("vendor_id") == "AuthenticAMD")
