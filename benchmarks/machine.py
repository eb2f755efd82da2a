"""Conditions of a measurement besides the program: the machine, the versions, the date and the commit."""

import datetime
import platform
from typing import Any

import torch

from utils.machine import commit, cores, processor


def describe(device: torch.device) -> dict[str, Any]:
    """Return the conditions of a measurement as plain values, without the name of the host and without paths."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "CPU",
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }
