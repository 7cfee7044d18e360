"""From a deadline to an attention ratio, by a measurement on this machine and this picture.

Time is nearly linear in pixels, and for a pixel in the share of windows that are attended: a patch
of the picture is timed at ratio 0 and at ratio 1, the survey tells the share that each ratio would
attend here, and a patch of the result tells the encoder's speed.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.protocol import Planes, Routed
from camixersr.image.planes import Form
from camixersr.inference.computer import Computer
from camixersr.inference.sources import Source
from camixersr.inference.survey import survey
from camixersr.inference.tiles import GRID
from camixersr.models.classsr import ByClass
from camixersr.nn.predictor import Pool
from camixersr.nn.routing import Policy, TopShare

__all__ = ["Speed", "best_ratio", "measure_speed"]

PATCH = 256
"""Side of the timed patch, low pixels: as in a tile, the working set is larger than the caches."""

CAUTION = 1.1
"""How much longer than estimated a job may take."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        plain: seconds a low pixel at ratio 0.
        attended: seconds a low pixel at ratio 1.
        shares: for each ratio 0, 0.01 ... 1 the share of windows that it attends in this picture.
        sample: a patch of the result, h x w x 3, uint8.
    """

    plain: float
    attended: float
    shares: tuple[float, ...]
    sample: NDArray[np.uint8]

    def estimate(self, pixels: int, share: float) -> float:
        """Seconds for so many low pixels."""
        return pixels * (self.plain + share * (self.attended - self.plain))


def measure_speed(computer: Computer, source: Source) -> Speed:
    """Time a patch in the middle of the picture, and look at what its ratios mean.

    Args:
        computer: the model.
        source: the picture.

    Returns:
        The measurement; it takes about as long as two tiles and a survey.
    """
    places = [
        slice(start, min(length, start + PATCH))
        for length in (source.height, source.width)
        for start in (max(0, (length - PATCH) // 2) // GRID * GRID,)
    ]
    low = source.read(places[0], places[1])
    pixels = low.shape[-2] * low.shape[-1]
    computer.route(low[..., :GRID, :GRID], TopShare(1.0))  # the first call is slower
    taken: list[float] = []
    high = low
    for share in (0.0, 1.0):
        began = time.perf_counter()
        high = computer.route(low, TopShare(share))[0].high
        taken.append((time.perf_counter() - began) / pixels)

    def look(low: Planes, policy: Policy, pool: Pool) -> Routed:
        return computer.route(low, policy, pool)[0]

    ratios = [number / 100 for number in range(101)]
    if computer.model.calibration is None:
        shares = tuple(ratios)
    else:
        seen = survey(look, source, computer.policy(source, 0.5), pool=computer.model.network.pool)
        classes, model = seen.classes, computer.model
        shares = tuple(
            seen.share(
                model.policy(ratio) if classes is None else ByClass(model.class_policies(ratio), classes)
            )
            for ratio in ratios
        )
    return Speed(taken[0], taken[1], shares, Form(np.dtype(np.uint8), grey=False).pixels(high[0]))


def best_ratio(speed: Speed, *, pixels: int, seconds: float, max_share: float = 1.0) -> tuple[float, float]:
    """The highest attention ratio that a deadline allows.

    >>> import numpy as np
    >>> speed = Speed(1e-6, 3e-6, tuple(number / 100 for number in range(101)), np.zeros((1, 1, 3)))
    >>> best_ratio(speed, pixels=1_000_000, seconds=2.21)
    (0.5, 2.2)

    Args:
        speed: measured.
        pixels: low pixels to compute, halos included.
        seconds: that there are.
        max_share: most windows that may be attended, as a share.

    Returns:
        The ratio, in steps of 0.01, and the seconds it is expected to take; 0 if none meets it.
    """
    best = 0
    for number, share in enumerate(speed.shares):
        if CAUTION * speed.estimate(pixels, min(share, max_share)) <= seconds:
            best = number
    expected = CAUTION * speed.estimate(pixels, min(speed.shares[best], max_share))
    return best / 100, round(expected, 3)
