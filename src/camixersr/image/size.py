"""Which size a picture shall have: by factor, side, frame or megapixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from camixersr.errors import UsageError, ValueRangeError

__all__ = ["Size", "best_scale"]

LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Size:
    """What was asked for; one of the ways, or none: the model's own scale.

    Attributes:
        scale: times as high and wide.
        width: columns; rows follow, unless `height` is given too.
        height: rows; columns follow.
        fit: width, height of a frame that the result just fits into.
        megapixels: area of the result, millions of pixels.
        at_most: no side is longer than the model makes it; else interpolation does the rest.

    Raises:
        UsageError: two ways at once.
        ValueRangeError: a number that is not positive and finite.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    fit: tuple[int, int] | None = None
    megapixels: float | None = None
    at_most: bool = False

    def __post_init__(self) -> None:
        ways = {
            "--scale": self.scale is not None,
            "--width / --height": self.width is not None or self.height is not None,
            "--fit": self.fit is not None,
            "--megapixels": self.megapixels is not None,
        }
        given = [name for name, yes in ways.items() if yes]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} both say how large; give one of them")
        for name, value in (("scale", self.scale), ("megapixels", self.megapixels)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueRangeError(f"--{name} must be positive, got {value:g}")
        if self.scale is not None and self.scale < 1:
            raise ValueRangeError(f"--scale must be at least 1, got {self.scale:g}")
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and not 1 <= side <= LONGEST:
                raise ValueRangeError(f"--{name} must be at least 1 pixel, got {side}")
        if self.fit is not None and not all(1 <= side <= LONGEST for side in self.fit):
            raise ValueRangeError(f"--fit must be at least 1x1, got {self.fit[0]}x{self.fit[1]}")

    @staticmethod
    def frame(text: str) -> tuple[int, int]:
        """Read "3840x2160" as width, height.

        Raises:
            UsageError: it is no frame.
        """
        width, cross, height = text.lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            raise UsageError(f"--fit must be WIDTHxHEIGHT, for example 3840x2160, got {text!r}")
        return int(width), int(height)

    def label(self, default: int) -> str:
        """What was asked for, for the names of files.

        >>> Size(scale=1.5).label(4), Size(width=1920).label(4), Size().label(4)
        ('x1.5', 'w1920', 'x4')
        """
        if self.fit is not None:
            return f"fit{self.fit[0]}x{self.fit[1]}"
        if self.megapixels is not None:
            return f"{self.megapixels:g}mp"
        sides = (f"w{self.width}" if self.width else "") + (f"h{self.height}" if self.height else "")
        return sides or f"x{self.scale if self.scale is not None else default:g}"

    def of(self, height: int, width: int, *, default: int, reach: int) -> tuple[int, int]:
        """Size of the result.

        >>> Size(fit=(3840, 2160)).of(1000, 1500, default=4, reach=4)
        (2160, 3240)
        >>> Size(fit=(3840, 2160), at_most=True).of(100, 150, default=4, reach=4)
        (400, 600)

        Args:
            height: rows of the low picture.
            width: columns of it.
            default: scale where no size was asked for.
            reach: largest scale that a model does.

        Returns:
            Height and width of the high picture, at least 1.

        Raises:
            UsageError: a factor that no model does. A frame, a side or an area may be beyond: those are
                asked of pictures of any size.
        """
        if self.scale is not None and self.scale > reach and not self.at_most:
            raise UsageError(
                f"--scale {self.scale:g} is more than the x{reach} model makes; ask for less, give another "
                "model, or say --at-most"
            )
        high = self._asked(height, width, default)
        return (min(high[0], reach * height), min(high[1], reach * width)) if self.at_most else high

    def _asked(self, height: int, width: int, default: int) -> tuple[int, int]:
        if self.width is not None and self.height is not None:
            return self.height, self.width
        if self.width is not None:
            factor = self.width / width
            return max(1, round(height * factor)), self.width
        if self.height is not None:
            factor = self.height / height
            return self.height, max(1, round(width * factor))
        if self.fit is not None:
            factor = min(self.fit[0] / width, self.fit[1] / height)
            return (
                max(1, min(self.fit[1], round(height * factor))),
                max(1, min(self.fit[0], round(width * factor))),
            )
        if self.megapixels is not None:
            factor = math.sqrt(self.megapixels * 1e6 / (height * width))
        else:
            factor = self.scale if self.scale is not None else float(default)
        return max(1, round(height * factor)), max(1, round(width * factor))


def best_scale(low: tuple[int, int], high: tuple[int, int], scales: Sequence[int]) -> int | None:
    """The smallest scale that reaches a size, so that only a reduction is left to do.

    Args:
        low: height, width.
        high: height, width.
        scales: of the models there are.

    Returns:
        The scale; None if the largest does not reach it.
    """
    fitting = [scale for scale in sorted(scales) if scale * low[0] >= high[0] and scale * low[1] >= high[1]]
    return fitting[0] if fitting else None
