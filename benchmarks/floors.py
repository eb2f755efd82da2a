"""Minimum time of a piece of work: its arithmetic, or the bytes it must read, at the machine's peak.

Arithmetic is counted in floating-point operations, two per multiply-add. A training step takes three times as many as
its forward pass: the gradient of a matrix product is two more of the same size.
"""

import time

import torch
from torch.nn import functional as F

from architectures.t5.config import T5Config

PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}
"""Dense bf16 operations per second by the data sheets; the first name that is part of the GPU's name counts."""

BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "L40S": 0.86e12, "L4": 0.3e12, "A10G": 0.6e12}
"""Memory bandwidth in bytes per second, likewise."""


def peak_arithmetic(device: torch.device, dtype: torch.dtype = torch.float32) -> float | None:
    """Return the peak of operations per second: of a GPU in bf16 by its data sheet, of a CPU in `dtype` as measured."""
    if device.type == "cuda":
        return _by_name(PEAK_BF16, torch.cuda.get_device_name(device))
    return max(_convolution_rate(dtype), *(_product_rate(side, dtype) for side in (1024, 2048, 4096)))


def _product_rate(side: int, dtype: torch.dtype) -> float:
    """Return the operations per second of a product of square matrices; which size is fastest depends on the CPU."""
    left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
    return 2 * side**3 / _least_time(lambda: left @ right, rounds=4)


def _convolution_rate(dtype: torch.dtype) -> float:
    """Return the operations per second of a 3x3 convolution: oneDNN's may be faster than a matrix product of MKL."""
    channels, side, images = 256, 16, 32
    x, weight = (
        torch.randn(*shape).to(dtype) for shape in ((images, channels, side, side), (channels, channels, 3, 3))
    )
    operations = 2 * 9 * channels**2 * images * side**2
    with torch.no_grad():
        return operations / _least_time(lambda: F.conv2d(x, weight, padding=1), rounds=8)


def peak_bandwidth(device: torch.device) -> float | None:
    """Return the peak of bytes read per second: of a GPU by its data sheet, of a CPU as measured."""
    if device.type == "cuda":
        return _by_name(BANDWIDTH, torch.cuda.get_device_name(device))
    values = torch.ones(2**25)  # 128 MiB, more than the caches hold
    return values.nbytes / _least_time(lambda: values.sum(), rounds=32)


def _by_name(table: dict[str, float], name: str) -> float | None:
    return next((value for key, value in table.items() if key in name), None)


def _least_time(function: object, rounds: int) -> float:
    assert callable(function)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def training_operations(multiply_adds: int, examples: int) -> int:
    """Return the operations of a training step from the multiply-adds of one example's forward pass."""
    return 3 * 2 * multiply_adds * examples


def t5_multiply_adds(config: T5Config, source: int, target: int) -> int:
    """Return the multiply-adds of a T5's forward pass on one pair of `source` and `target` tokens."""
    width, inner = config.d_model, config.d_kv * config.num_heads
    products = (3 if config.feed_forward_proj == "gated-gelu" else 2) * width * config.d_ff  # per token
    projections = 4 * width * inner  # of queries, keys, values and output, per token
    encoder = source * (projections + products) + 2 * source * source * inner
    own = target * (projections + products) + 2 * target * target * inner
    cross = 2 * target * width * inner + 2 * source * width * inner + 2 * target * source * inner
    return config.num_layers * encoder + config.decoder_depth * (own + cross) + target * width * config.vocab_size


def decoding_step_bytes(config: T5Config, bytes_per_weight: int) -> int:
    """Return the bytes of weights that one step of decoding must read: the decoder's and the output layer's."""
    width, inner = config.d_model, config.d_kv * config.num_heads
    products = (3 if config.feed_forward_proj == "gated-gelu" else 2) * width * config.d_ff
    block = 4 * width * inner + 2 * width * inner + products  # keys and values of the source are projected once
    return bytes_per_weight * (config.decoder_depth * block + width * config.vocab_size)
