"""Dropout that is fast on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Constants of SplitMix64 (Steele, Lea, Flood. Fast Splittable Pseudorandom Number Generators. OOPSLA 2014), signed.
_GAMMA, _MIX_1, _MIX_2 = (number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` (Srivastava et al. 2014, section 4), several times as fast on a CPU.

    There, torch generates one random number per element in a single thread, which takes a sixth of a training step.
    Here, one number of the same generator is the key of a hash that all threads compute: a mask does not depend on
    their number. Each element has 16 bits, which rounds `p` to the nearest 1/65536. On other devices, and when
    compiled, this module calls torch's own dropout.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop each element of x with probability `p` and divide the others by 1 - p; in training only."""
        if not self._has_own_mask(x):
            return F.dropout(x, self.p, self.training)
        return x * dropout_mask(x.shape, self.p).to(x.dtype)

    def _has_own_mask(self, x: Tensor) -> bool:
        return self.training and 0 < self.p < 1 and x.device.type == "cpu" and not torch.compiler.is_compiling()


class ReluDropout(Dropout):
    """ReLU followed by dropout; on a CPU as one function, which keeps neither its input nor its mask."""

    def forward(self, x: Tensor) -> Tensor:
        """Return dropout of the positive part of x."""
        if not self._has_own_mask(x):
            return super().forward(F.relu(x))
        dropped: Tensor = _ReluDropout.apply(x, self.p)
        return dropped


class _ReluDropout(torch.autograd.Function):
    """ReLU and dropout: the gradient passes where the output is above 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        output = dropout_mask(x.shape, p).to(x.dtype).mul_(x).relu_()
        ctx.save_for_backward(output)
        ctx.scale = _scale(p)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (output,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
        return passed.mul_(ctx.scale), None


def dropout_mask(shape: torch.Size, p: float) -> Tensor:
    """Return a random float32 mask: 0 with probability `p`, otherwise 1 / (1 - p), with `p` rounded to 16 bits."""
    count = shape.numel()
    key = torch.empty((), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
    values = _random_words(key, (count + 3) // 4).view(torch.int16)[:count].view(shape)  # from -2**15 to 2**15 - 1
    return torch.ge(values, _dropped(p) - 2**15, out=torch.empty(shape, dtype=torch.float32)).mul_(_scale(p))


def _dropped(p: float) -> int:
    """Return how many of 2**16 values stand for a dropped element."""
    return min(round(p * 2**16), 2**16 - 1)


def _scale(p: float) -> float:
    """Return 1 / (1 - p), with `p` rounded to 16 bits."""
    return 2**16 / (2**16 - _dropped(p))


def _random_words(key: Tensor, count: int) -> Tensor:
    """Return `count` random integers of 64 bits: SplitMix64 from the state `key`, without its last step.

    That step would mix the upper bits into the lower ones once more. Shifts here are of signed numbers, so each leaves
    63 random bits of 64 to the multiplication after it.
    """
    words = torch.arange(count).mul_(_GAMMA).add_(key)
    words.bitwise_xor_(words >> 30).mul_(_MIX_1)
    return words.bitwise_xor_(words >> 27).mul_(_MIX_2)
