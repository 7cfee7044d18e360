"""A policy in numbers, for backends that cannot call back in the middle; and the way to ask it."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from camixersr.models.calibration import Threshold, log_odds
from camixersr.models.fixed import FixedWindows
from camixersr.nn.routing import Policy, TopShare

__all__ = ["FAR", "Orders", "choose", "in_numbers", "orders"]

FAR = 1e30
"""Stands for infinity in `Orders`: infinity times zero would be NaN."""


@dataclass(frozen=True)
class Orders:
    """A policy in numbers, for one piece of N windows.

    Attributes:
        thresholds: blocks: log-odds above which a window is attended; +-`FAR` for never and always.
        slopes: blocks: how fast attention fades in above a threshold, per log-odds.
        count: so many best-scored windows of every block are attended besides.
        allowed: blocks x N: a factor to what the others say, 0 to 1.
    """

    thresholds: NDArray[np.float32]
    slopes: NDArray[np.float32]
    count: int
    allowed: NDArray[np.float32]


@runtime_checkable
class InNumbers(Policy, Protocol):
    """A policy that puts itself in numbers, and chooses of arrays as of tensors."""

    def orders(self, blocks: int, windows: int) -> Orders | None:
        """As `orders`."""
        ...


def in_numbers(thresholds: "list[float] | tuple[float, ...]", bands: list[float], windows: int) -> Orders:
    """Thresholds and bands in log-odds, one a block, of N windows."""
    far = [each if math.isfinite(each) else math.copysign(FAR, each) for each in thresholds]
    slopes = [1.0 / band if band else FAR for band in bands]
    allowed = np.ones((len(far), windows), np.float32)
    return Orders(np.array(far, np.float32), np.array(slopes, np.float32), 0, allowed)


def orders(policy: Policy, blocks: int, windows: int) -> Orders | None:
    """Put a policy in numbers.

    >>> given = orders(TopShare(0.25), blocks=2, windows=8)
    >>> given.count, given.allowed.shape
    (2, (2, 8))

    Args:
        policy: who routes.
        blocks: of the network.
        windows: N of the piece.

    Returns:
        The numbers; None for a policy that has none: ask it by `choose`.
    """
    if isinstance(policy, InNumbers):
        return policy.orders(blocks, windows)
    if isinstance(policy, TopShare):
        never, steep = np.full(blocks, FAR, np.float32), np.ones(blocks, np.float32)
        count = int(policy.share * windows + 0.5)
        return Orders(never, steep, count, np.ones((blocks, windows), np.float32))
    if isinstance(policy, FixedWindows):
        allowed = np.stack([mask.float().cpu().numpy().reshape(-1) for mask in policy.masks])
        if allowed.shape != (blocks, windows):
            return None  # the network says what is wrong
        always, steep = np.full(blocks, -FAR, np.float32), np.ones(blocks, np.float32)
        return Orders(always, steep, 0, allowed)
    if isinstance(policy, Threshold) and len(policy.thresholds) >= blocks:
        thresholds = [log_odds(score) for score in policy.thresholds[:blocks]]
        return in_numbers(thresholds, [policy.band] * blocks, windows)
    return None


def choose(policy: Policy, logits: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Ask a policy, of whatever kind.

    Args:
        policy: who routes.
        logits: B x N log-odds of attention.
        block: the block's number, 0 at the input side.

    Returns:
        B x N in [0, 1]: how much each window is attended.
    """
    if isinstance(policy, TopShare | Threshold | InNumbers):  # they take arrays
        chosen: Any = policy
        return np.asarray(chosen.choose(logits, block), np.float32)
    import torch

    return policy.choose(torch.from_numpy(logits), block).float().numpy()
