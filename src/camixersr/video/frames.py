"""Frames of a film, each enlarged as `camixersr upscale` does; what repeats is computed once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.protocol import Planes as Pixels
from camixersr.enlarge.enlarge import Cancel, enlarge
from camixersr.enlarge.options import Options
from camixersr.image.panorama import Panorama
from camixersr.image.picture import Picture
from camixersr.image.planes import Planes
from camixersr.inference.before import Before
from camixersr.inference.computer import Computer, Enlarged
from camixersr.inference.cost import Progress
from camixersr.runs.models import Models

__all__ = ["Frame", "Frames"]


@dataclass(frozen=True)
class Frame:
    """A frame that has been enlarged.

    Attributes:
        low: H x W x 3, uint8 or uint16.
        high: the result, of the same dtype.
        cost: of the network; None where it was not needed.
        repeated: it is the frame before, to the bit.
        reused: tiles that were those of the frame before.
    """

    low: NDArray[Any]
    high: NDArray[Any]
    cost: Enlarged | None
    repeated: bool = False
    reused: int = 0


class _Following:
    """A computer that knows the picture before; see `camixersr.enlarge.enlarge.Runs`."""

    def __init__(self, computer: Computer) -> None:
        self._computer, self.before = computer, Before()

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        return self._computer.scale

    def run(
        self,
        low: Pixels,
        *,
        attention_ratio: float | None,
        max_share: float,
        progress: Progress | None,
        panorama: Panorama | None,
    ) -> Enlarged:
        """As `Computer.run`."""
        return self._computer.run(
            low,
            attention_ratio=attention_ratio,
            max_share=max_share,
            progress=progress,
            panorama=panorama,
            before=self.before,
        )


class Frames:
    """Enlarges frame after frame; the result of none depends on which came before.

    Args:
        models: to choose from, with the options.
        height: lines of the film.
        width: columns of it.
        size: height and width of the result.
        cancel: asked several times a tile whether to stop.
    """

    def __init__(
        self, models: Models, height: int, width: int, size: tuple[int, int], cancel: Cancel
    ) -> None:
        self.options: Options = models.options
        self.size, self._cancel = size, cancel
        self.computer = models.reaching((height, width), size)
        self._enlarger = _Following(self.computer)
        self._restorer = _Following(models.restorer) if self.options.restores(None) else None
        self._last: Frame | None = None

    def __call__(self, low: NDArray[Any], progress: Progress | None = None) -> Frame:
        """Enlarge a frame.

        Args:
            low: H x W x 3, uint8 or uint16.
            progress: told how far it is.

        Raises:
            CancelledError: `cancel` said so.
        """
        last = self._last
        if last is not None and np.array_equal(last.low, low):
            return Frame(low, last.high, last.cost, repeated=True)
        cost, high = enlarge(
            self._enlarger,
            Picture(low),
            size=self.size,
            attention_ratio=self.options.attention_ratio,
            max_share=self.options.max_share,
            progress=progress,
            cancel=self._cancel,
            restorer=self._restorer,
        )
        self._last = Frame(low, high.pixels, cost, reused=self._enlarger.before.reused)
        return self._last


def beside(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Bicubic interpolation and the result, side by side.

    Args:
        low: h x w x 3.
        high: H x W x 3.

    Returns:
        H x 2W x 3.
    """
    planes = Planes.of(low)
    plain = planes.form.pixels(planes.colour, size=high.shape[:2])
    return np.concatenate((plain, high), axis=1)
