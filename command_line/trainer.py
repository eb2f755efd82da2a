"""Lightning's Trainer, whose precision may be `auto`."""

from __future__ import annotations

from typing import Any, Literal

from lightning.fabric.plugins.precision.precision import _PRECISION_INPUT
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import Accelerator

from utils.precision import AUTO, preferred_precision


class AutoPrecisionTrainer(Trainer):
    """Lightning's Trainer with one more precision: `auto`, for bf16 where that is faster.

    The command line replaces it by what it stands for before it saves a config, so a run keeps its precision wherever
    it is resumed or tested.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        precision: _PRECISION_INPUT | Literal["auto"] | None = None,
        **kwargs: Any,
    ):
        """Take Lightning's arguments.

        Args:
            accelerator: Where to compute: `cpu`, `gpu`, `mps`, ..., or `auto` for what there is.
            precision: Full precision (`32-true`), bfloat16 mixed precision (`bf16-mixed`), 16-bit mixed precision
                (`16-mixed`), double precision (`64-true`), or `auto`: `bf16-mixed` on a GPU that has bfloat16 and on a
                CPU that is faster in it than in float32 (AMX, or an AMD from Zen 4 on), else `32-true`. The default is
                `32-true`.
            **kwargs: Lightning's other arguments.
        """
        chosen = preferred_precision(accelerator) if precision == AUTO else precision
        super().__init__(accelerator=accelerator, precision=chosen, **kwargs)
