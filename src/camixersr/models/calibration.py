"""What an attention ratio means for one network: thresholds, measured on photographs.

A mask that fades in lets a rounding difference in a score be one in pixels, and not another branch.
"""

import math
from dataclasses import dataclass
from typing import Any

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.nn.routing import Policy, TopShare, check_share

__all__ = ["BAND", "Calibration", "Threshold", "fade", "log_odds"]


BAND = 0.25
"""How far above its threshold a window is attended in full, in log-odds.

More than what tiling changes of them (at most 0.2, decision 0004) or bfloat16 (0.04). Log-odds of the
embedded s-x4 deviate by 0.4 to 1.4 within a photograph, block by block.
"""


def fade(logits: Any, threshold: float, band: float) -> Any:
    """Attend from a threshold up: a little just above it, in full from `band` above it.

    Args:
        logits: log-odds of attention, any shape; tensor or array.
        threshold: log-odds; -inf attends everything in full, inf nothing.
        band: in log-odds; 0 is a step: in full from the threshold itself.

    Returns:
        A mask of the same shape: bool for a step, else floating point in [0, 1].
    """
    if band == 0.0:
        return logits >= threshold
    return ((logits - threshold) / band).clip(0.0, 1.0)


@dataclass(frozen=True)
class Threshold:
    """Attend every window whose score lies above its block's threshold.

    The decision is local: a window's neighbours, its tile and its batch do not matter. Thresholds
    calibrated on photographs make the share an average over photographs.

    Attributes:
        thresholds: one score in [0, 1] for each block; 0 attends all windows of a block, and 1 (or
            anything above) none.
        band: windows less than this above the threshold, in log-odds, blend both branches.

    Raises:
        ValueRangeError: `band` is negative.
    """

    thresholds: tuple[float, ...]
    band: float = BAND

    def __post_init__(self) -> None:
        if not self.band >= 0.0:
            raise ValueRangeError(f"band must not be negative, got {self.band}")

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        if block >= len(self.thresholds):
            raise ShapeError(
                f"expected one threshold a block, got {len(self.thresholds)} and no threshold for "
                f"block {block}; calibrate the thresholds with this network"
            )
        return fade(logits, log_odds(self.thresholds[block]), self.band)


def log_odds(score: float) -> float:
    """Of a score; scores at or beyond the ends of [0, 1] have infinite ones."""
    if not 0.0 < score < 1.0:
        return math.inf if score >= 1.0 else -math.inf
    return math.log(score / (1.0 - score))


@dataclass(frozen=True)
class Calibration:
    """Thresholds of every block that attend a wanted share, on average over photographs.

    Attributes:
        ratios: ascending attention ratios in (0, 1) at which thresholds were measured.
        thresholds: for each ratio, one score a block.

    Raises:
        ShapeError: the two do not match.
    """

    ratios: tuple[float, ...]
    thresholds: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if (
            not self.ratios
            or len(self.ratios) != len(self.thresholds)
            or len({len(row) for row in self.thresholds}) != 1
            or list(self.ratios) != sorted(self.ratios)
        ):
            raise ShapeError("expected ascending ratios and, for each, one threshold a block")

    def at(self, ratio: float) -> Policy:
        """The policy for an attention ratio; between two measured ones, interpolated linearly.

        Args:
            ratio: gamma in [0, 1]. 0 and 1 are exact: nothing and everything.

        Raises:
            ValueRangeError: `ratio` lies outside [0, 1].
        """
        check_share(ratio)
        if ratio in (0.0, 1.0):
            return TopShare(ratio)
        blocks = len(self.thresholds[0])
        known = [0.0, *self.ratios, 1.0]
        rows = [(1.0,) * blocks, *self.thresholds, (0.0,) * blocks]
        after = next(i for i, value in enumerate(known) if value >= ratio)
        part = (ratio - known[after - 1]) / (known[after] - known[after - 1])
        return Threshold(
            tuple(low + part * (high - low) for low, high in zip(rows[after - 1], rows[after], strict=True))
        )
