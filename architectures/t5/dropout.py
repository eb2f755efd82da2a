"""Dropout that is fast on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` (Srivastava et al. 2014, section 4), three times as fast on a CPU.

    There, torch generates one random number per element in a single thread, which takes a fifth of a training step.
    Here, each 64-bit number from the same generator decides for four elements, which rounds `p` to the nearest 1/65536.
    On other devices, and when compiled, this module calls torch's own dropout.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop each element of x with probability `p` and divide the others by 1 - p; in training only."""
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p, self.training)
        return x * dropout_mask(x.shape, self.p).to(x.dtype)


def dropout_mask(shape: torch.Size, p: float) -> Tensor:
    """Return a random float32 mask: 0 with probability `p`, otherwise 1 / (1 - p), with `p` rounded to 16 bits."""
    count = shape.numel()
    numbers = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
    values = numbers.view(torch.int16)[:count].view(shape)  # uniform from -2**15 to 2**15 - 1
    dropped = min(round(p * 2**16), 2**16 - 1)  # of 2**16 possible values
    return values.float().ge_(dropped - 2**15).mul_(2**16 / (2**16 - dropped))
