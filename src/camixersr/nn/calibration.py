"""What an attention ratio means for one network: thresholds, measured on photographs."""

from dataclasses import dataclass

from camixersr.errors import ShapeError
from camixersr.nn.routing import Policy, Threshold, TopShare, check_share

__all__ = ["Calibration"]


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
