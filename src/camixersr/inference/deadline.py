"""From a deadline to an attention ratio, by a measurement on this machine and this picture.

A patch of the picture is timed at ratio 0 and at ratio 1. What is measured holds for the first moment only:
`camixersr.inference.pace` corrects it while the picture is computed.
"""

import time
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.orders import Orders, choose, orders
from camixersr.image.planes import Form
from camixersr.inference.computer import Computer
from camixersr.inference.pace import NUMBERS, Speed
from camixersr.inference.sources import Source
from camixersr.inference.tiles import GRID
from camixersr.nn.routing import Policy, TopShare

__all__ = ["best_ratio", "measure_speed", "missed"]

SIDES = (64, 256)
"""Least and greatest side of the timed patch, low pixels: the greatest one no longer fits the caches."""

PART = 25
"""The patch is at most this part of a picture, or timing it would cost what is to be saved."""


@dataclass
class _Clocked:
    """A policy that notes when each block asks it."""

    policy: Policy
    times: list[float] = field(default_factory=list[float])

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        self.times.append(time.perf_counter())
        if isinstance(logits, np.ndarray):
            return choose(self.policy, logits, block)
        return self.policy.choose(logits, block)

    def orders(self, blocks: int, windows: int) -> Orders | None:
        """See `camixersr.backends.orders.orders`."""
        return orders(self.policy, blocks, windows)


def measure_speed(computer: Computer, source: Source) -> tuple[Speed, NDArray[np.uint8]]:
    """Time a patch in the middle of the picture.

    Args:
        computer: the model.
        source: the picture.

    Returns:
        The measurement, and what came of the patch: h x w x 3.
    """
    side = min(SIDES[1], max(SIDES[0], isqrt(source.height * source.width // PART) // GRID * GRID))
    places = [
        slice(start, min(length, start + side))
        for length in (source.height, source.width)
        for start in (max(0, (length - side) // 2) // GRID * GRID,)
    ]
    low = source.read(places[0], places[1])
    pixels, blocks = low.shape[-2] * low.shape[-1], sum(computer.model.config.blocks)
    computer.route(low[..., :GRID, :GRID], TopShare(1.0))  # the first call is slower
    inside: list[float] = []
    ends: list[float] = []
    high = low
    for share in (0.0, 1.0):
        policy, began = _Clocked(TopShare(share)), time.perf_counter()
        high = computer.route(low, policy)[0].high
        taken = time.perf_counter() - began
        asked = policy.times[:blocks]
        of_blocks = taken if len(asked) < 2 else (asked[-1] - asked[0]) * blocks / (blocks - 1)
        inside.append(min(taken, of_blocks) / pixels)
        ends.append(taken / pixels - inside[-1])
    speed = Speed(inside[0], max(inside), min(ends))
    return speed, Form(np.dtype(np.uint8), grey=False).pixels(high[0])


def best_ratio(speed: Speed, *, pixels: int, seconds: float, max_share: float = 1.0) -> tuple[float, float]:
    """The highest attention ratio that a deadline allows, as far as it is known beforehand.

    >>> best_ratio(Speed(1e-6, 3e-6, 0.0), pixels=1_000_000, seconds=2.01)
    (0.5, 2.0)

    Args:
        speed: measured.
        pixels: low pixels to compute, halos included.
        seconds: that there are.
        max_share: most windows that may be attended, as a share.

    Returns:
        The ratio, in steps of 0.01, and the seconds it is expected to take; 0 if none meets it.
    """
    best = 0
    for number in range(NUMBERS):
        if speed.estimate(pixels, min(number / 100, max_share)) <= seconds:
            best = number
    return best / 100, round(speed.estimate(pixels, min(best / 100, max_share)), 3)


def missed(seconds: float | None, taken: float) -> list[str]:
    """What a person is told of a deadline that was not kept: a line, or nothing.

    >>> missed(10.0, 12.5), missed(10.0, 10.0), missed(None, 5.0)
    (['it took 12.5 s, 25 % more than the 10 s of the deadline'], [], [])

    Args:
        seconds: that there were; None for no deadline.
        taken: that it took.
    """
    if seconds is None or taken <= seconds:
        return []
    more = 100 * (taken / seconds - 1)
    return [f"it took {taken:.1f} s, {max(1, round(more))} % more than the {seconds:g} s of the deadline"]
