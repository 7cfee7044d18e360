"""A deadline that is kept while a picture is computed: the ratio is chosen anew in each block of each tile.

Time is nearly linear in pixels, and for a pixel in the share of windows that are attended. What a patch
took says how much each costs here; what each block then takes corrects that, and so does how many windows
a ratio turns out to attend. A backend that cannot be asked in every block is corrected at each tile.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camixersr.backends.orders import Orders, choose, orders
from camixersr.inference.policies import Classified
from camixersr.inference.tiles import Tile
from camixersr.nn.routing import Policy

__all__ = ["NUMBERS", "Pace", "Paced", "Speed"]

NUMBERS = 101
"""Ratios 0, 0.01 ... 1 are chosen from."""

TRUST = 0.3
"""How much the last block counts for how long the next ones take."""

MARGIN = 0.97
"""Part of the time left that is planned to be used."""


@dataclass(frozen=True)
class Speed:
    """What was measured on one device.

    Attributes:
        plain: seconds a low pixel in all blocks together, at ratio 0.
        attended: likewise at ratio 1.
        ends: seconds a low pixel before the first and after the last block.
    """

    plain: float
    attended: float
    ends: float

    def of(self, pixels: float, share: float) -> float:
        """Seconds of so many low pixels in all blocks."""
        return pixels * (self.plain + share * (self.attended - self.plain))

    def estimate(self, pixels: float, share: float) -> float:
        """Seconds of so many low pixels, all told."""
        return self.of(pixels, share) + pixels * self.ends


@dataclass
class Pace:
    """How fast it goes, and how fast it must.

    Every device has its own copy, which learns from what it computes itself.

    Attributes:
        policies: for each ratio of `NUMBERS`.
        speed: measured.
        blocks: of the network.
        until: when it must be done, of `time.monotonic`.
        todo: the tiles to compute, in their order.
        devices: that share them.
        most: windows that may be attended, as a share.
        slow: how much longer things take than was measured.
        spent: windows attended of those that the ratio speaks of.
    """

    policies: Sequence[Policy | Classified]
    speed: Speed
    blocks: int
    until: float
    todo: Sequence[Tile]
    devices: int = 1
    most: float = 1.0
    slow: float = 1.0
    spent: float = 1.0

    def share(self, number: int) -> float:
        """Windows that ratio `number` attends, as a share."""
        return min(self.most, number / 100 * (1.0 if number == NUMBERS - 1 else self.spent))

    def number(self, tile: Tile, block: int) -> int:
        """The highest ratio, in hundredths, that the time left allows, if block `block` is next."""
        place = (tile.rows.own_start, tile.columns.own_start)
        after = sum(
            each.pixels for each in self.todo if (each.rows.own_start, each.columns.own_start) > place
        )
        inside = (tile.pixels * (self.blocks - block) / self.blocks + after) / self.devices
        left = MARGIN * (self.until - time.monotonic()) / self.slow
        left -= self.speed.ends * (tile.pixels + after) / self.devices
        low, high = -1, NUMBERS - 1
        while low < high:  # the more, the longer
            middle = (low + high + 1) // 2
            fits = self.speed.of(inside, self.share(middle)) <= left
            low, high = (middle, high) if fits else (low, middle - 1)
        return max(0, low)

    def learn(self, seconds: float, expected: float) -> None:
        """Something took other than expected, as far as was measured."""
        if expected > 0.0:
            self.slow += TRUST * (min(20.0, max(0.05, seconds / expected)) - self.slow)

    def attended(self, number: int, share: float) -> None:
        """Ratio `number` has attended this share of windows."""
        if 0 < number < NUMBERS - 1 and share < self.most:
            self.spent += TRUST * (min(5.0, share / (number / 100)) - self.spent)


@dataclass
class Paced:
    """The policy of a tile: asked in each block, it looks at the clock.

    Attributes:
        pace: of the picture.
        tile: which one.
        inside: gives the tile's policy for a number of `Pace.policies`.
    """

    pace: Pace
    tile: Tile
    inside: Callable[[int], Policy]
    _last: tuple[float, float] | None = field(default=None, init=False)

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        now, pace = time.monotonic(), self.pace
        if self._last is not None and block:
            began, share = self._last
            pace.learn(now - began, pace.speed.of(self.tile.pixels / pace.blocks, share))
        number = pace.number(self.tile, block)
        inside = self.inside(number)
        if isinstance(logits, np.ndarray):
            chosen: Any = choose(inside, logits, block)
            share = float((chosen > 0).mean())
        else:
            chosen = inside.choose(logits, block)
            share = float((chosen > 0).float().mean())
        pace.attended(number, share)
        self._last = (now, share)
        return chosen

    def orders(self, blocks: int, windows: int) -> Orders | None:
        """For a backend that is told once a tile; None for one that asks."""
        return orders(self.inside(self.pace.number(self.tile, 0)), blocks, windows)
