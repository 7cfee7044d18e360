"""Policies that only inference needs: values, which the network asks about its tensors."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.orders import Orders, choose, in_numbers, orders
from camixersr.inference.tiles import Tile, of_owned
from camixersr.models.calibration import fade
from camixersr.models.classes import ByClass
from camixersr.nn.routing import Policy

__all__ = ["Allowed", "Classified", "LogOddsThreshold", "OwnedShare", "cutoff"]


@dataclass(frozen=True)
class LogOddsThreshold:
    """Attend from a log-odds up; `Threshold` on scores saturates where a checkpoint's are near 1."""

    thresholds: tuple[float, ...]
    bands: tuple[float, ...]

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        return fade(logits, self.thresholds[block], self.bands[block])

    def orders(self, blocks: int, windows: int) -> Orders | None:
        """See `camixersr.backends.orders.orders`."""
        if len(self.thresholds) < blocks:
            return None
        return in_numbers(self.thresholds[:blocks], list(self.bands[:blocks]), windows)


@dataclass(frozen=True)
class Allowed:
    """Another policy, inside a fixed set of windows: 1 x N."""

    policy: Policy
    allowed: NDArray[np.bool_]

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        if isinstance(logits, np.ndarray):
            return choose(self.policy, logits, block) * self.allowed
        chosen = self.policy.choose(logits, block)
        return chosen * chosen.new_tensor(self.allowed)

    def orders(self, blocks: int, windows: int) -> Orders | None:
        """See `camixersr.backends.orders.orders`."""
        inner = orders(self.policy, blocks, windows)
        return inner and replace(inner, allowed=inner.allowed * self.allowed.astype(np.float32))


@dataclass(frozen=True)
class Classified:
    """A policy for each class, and the class of every window of a picture.

    Attributes:
        policies: one a class, each local.
        classes: rows x columns of windows, int64.
    """

    policies: tuple[Policy, ...]
    classes: NDArray[np.int64]

    def inside(self, windows: NDArray[np.int64]) -> ByClass:
        """The policy for a piece of the picture, whose windows have these classes."""
        return ByClass(self.policies, np.ascontiguousarray(windows).reshape(1, -1))


@dataclass(frozen=True)
class OwnedShare:
    """Attend the best share of the windows that a tile owns; its halo's go by the same threshold.

    The threshold lies halfway between the last window that is attended and the first that is not. Around
    a panorama's seam the halo repeats windows that the tile owns, so that rounding must not tell a window
    from its copy.
    """

    tile: Tile
    share: float
    window: int

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        own = of_owned(self.tile, logits, self.window).flatten()
        return logits >= cutoff(own, self.share)


def cutoff(logits: Any, share: float) -> float:
    """The log-odds that `share` of these reach: between the last attended and the first that is not.

    Args:
        logits: of windows, N; tensor or array.
        share: in [0, 1]; their count is rounded as by `TopShare`.
    """
    ordered = -np.sort(-np.array(logits.tolist()))
    count = int(share * len(ordered) + 0.5)
    if count == 0:
        return math.inf
    if count == len(ordered):
        return -math.inf
    return float(ordered[count - 1 : count + 1].mean())
