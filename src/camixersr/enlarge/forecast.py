"""How long a long job will take: a patch of the picture is timed, and the encoder on what comes of it."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camixersr.enlarge.options import Options
from camixersr.image.planes import Form
from camixersr.image.stream import encoding_seconds
from camixersr.inference.computer import Computer

__all__ = ["LONG", "PATCH", "Estimate", "estimate"]

LONG = 4_000_000
"""Low pixels from which on a job is worth a forecast, which takes as long as a few patches."""

PATCH = 256
"""Side of the timed patch, low pixels."""

_WARM = 64
"""Side of a first one, which is not timed: the first call is slower."""


@dataclass(frozen=True)
class Estimate:
    """What was measured.

    Attributes:
        low: seconds a low pixel, of the network on all devices.
        high: seconds a high pixel, of the encoder.
    """

    low: float
    high: float

    def seconds(self, low: int, high: int) -> float:
        """For so many pixels."""
        return low * self.low + high * self.high


def estimate(computer: Computer, low: NDArray[np.float32], target: Path, options: Options) -> Estimate:
    """Time a patch of a picture.

    Args:
        computer: the model.
        low: the patch, 3 x h x w, float32 in [0, 1]; about `PATCH` a side.
        target: where results go; its suffix tells the encoder.
        options: how they are made.
    """
    patch = np.ascontiguousarray(low)
    computer.run(np.ascontiguousarray(patch[:, :_WARM, :_WARM]), attention_ratio=options.attention_ratio)
    began = time.perf_counter()
    made = computer.run(patch, attention_ratio=options.attention_ratio, max_share=options.max_share)
    taken = time.perf_counter() - began
    sample = Form(np.dtype(np.uint8), grey=False).pixels(made.high)
    pixels = low.shape[-2] * low.shape[-1] * len(set(computer.devices))
    return Estimate(taken / pixels, encoding_seconds(target, sample, options.write))
