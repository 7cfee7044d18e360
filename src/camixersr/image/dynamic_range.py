"""Pixels in floating point, with values beyond [0, 1]: into the range of a network and back.

A network has seen pictures in [0, 1] and errs by about the same amount at any value. Values that
lie in [0, 1] are handed to it as they are. As soon as one lies outside, the whole picture goes
through a curve that is linear near zero and logarithmic beyond (asinh), so that the error is
relative to the brightness, and nothing is clipped; see docs/decisions/0005.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve"]

KNEE = 0.02
"""Value at which the curve turns from linear to logarithmic."""


@dataclass(frozen=True)
class Curve:
    """A strictly rising curve from [lowest, highest] onto [0, 1].

    >>> curve = Curve.of(np.array([0.0, 0.5, 40.0], dtype=np.float32))
    >>> curve.decode(curve.encode(np.array([0.5, 40.0]))).round(5).tolist()
    [0.5, 40.0]

    Attributes:
        lowest: least value of the picture, at most 0.
        highest: greatest value, at least 1.
    """

    lowest: float = 0.0
    highest: float = 1.0

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> "Curve":
        """The curve for a picture: the identity if all its values lie in [0, 1].

        Args:
            pixels: finite values, any shape.
        """
        return cls(min(0.0, float(pixels.min())), max(1.0, float(pixels.max())))

    @property
    def is_identity(self) -> bool:
        """Whether values are left as they are."""
        return self.lowest == 0.0 and self.highest == 1.0

    def _ends(self) -> tuple[float, float]:
        return float(np.arcsinh(self.lowest / KNEE)), float(np.arcsinh(self.highest / KNEE))

    def encode(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Values of the picture to [0, 1], float32."""
        if self.is_identity:
            return pixels.astype(np.float32)
        low, high = self._ends()
        return ((np.arcsinh(pixels.astype(np.float64) / KNEE) - low) / (high - low)).astype(np.float32)

    def decode(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The way back; what a network put outside [0, 1] is clipped to the picture's own range."""
        values = np.clip(values, 0.0, 1.0)
        if self.is_identity:
            return values.astype(np.float32)
        low, high = self._ends()
        wide = KNEE * np.sinh(low + (high - low) * values.astype(np.float64))
        return np.clip(wide, self.lowest, self.highest).astype(np.float32)
