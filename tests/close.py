"""Comparison of two computations of the same numbers, by a tolerance that follows their size.

Kernels add the same products in different orders, so two ways to one result differ by rounding, which is relative to
the numbers added: 2e-5 is 160 units in the last place of a float32 near 1, and one unit near 200. Which kernel runs
depends on the processor, the number of threads, the shapes and the alignment of the memory.
"""

import torch
from torch import Tensor

UNITS = 32
"""With AVX-512, AVX2 and scalar kernels, on one thread and two, the results compared were at most 15 units apart (7 in
float32). A weight or a scale that is wrong by 0.1% moves them by hundreds to thousands of units."""


def assert_close(
    ours: Tensor | float,
    expected: Tensor | float,
    units: float = UNITS,
    size: Tensor | float | None = None,
    dtype: torch.dtype | None = None,
    what: str = "results",
) -> None:
    """Check that no element differs from the expected one by more than some units in the last place of the largest.

    Args:
        ours: The result to check.
        expected: The result expected, of the same shape. Where all of it is 0, so must be the other.
        units: Largest difference allowed, in units in the last place: the spacing of numbers at 1, times `size`.
        size: Size of the numbers that the results are rounded with; by default the largest magnitude expected. To be
            given where results are small differences of larger numbers.
        dtype: The type that was computed in, by default that of `expected`. To be given where the two differ.
        what: What is compared, for the message.
    """
    one, other = torch.as_tensor(ours).detach(), torch.as_tensor(expected).detach()
    assert one.shape == other.shape, f"{what} of shape {tuple(one.shape)}, expected {tuple(other.shape)}"
    largest = float(other.abs().max() if size is None else size)
    unit = torch.finfo(dtype or other.dtype).eps * largest
    difference = float((one.double() - other.double()).abs().max())
    # Written so that a NaN fails.
    assert difference <= units * unit, (
        f"{what} differ by {difference:.3g}, more than {units} units in the last place of {largest:.3g}, "
        f"which are {units * unit:.3g}"
    )
