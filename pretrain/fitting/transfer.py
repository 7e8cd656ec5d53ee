"""From memory to where a network is: pinned, so that a GPU fetches the next batch while it works on this one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Accelerator = Literal["auto", "cpu", "gpu"]
DEVICES: dict[str, str] = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}  #: what torch calls them


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of any shape on a device; from memory to a GPU through pinned memory, without waiting for it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
