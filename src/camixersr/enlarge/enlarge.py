"""A picture in memory, enlarged: from its pixels to planes, through the network, and back.

`camixersr.image.planes` deals with depth, range, greyscale and transparency, so that the network only
ever sees RGB in [0, 1]; here any size is made of a model's, and transparency gets its own run.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal, Protocol, get_args

import numpy as np

from camixersr.backends.protocol import Planes as Pixels
from camixersr.errors import CancelledError, ImageError, UsageError
from camixersr.image.alpha import keep_extremes
from camixersr.image.metadata import fitted
from camixersr.image.panorama import Panorama
from camixersr.image.picture import MAX_PIXELS, Picture
from camixersr.image.planes import Planes, enlarge_alpha
from camixersr.image.resize import resize
from camixersr.inference.computer import Computer, Enlarged
from camixersr.inference.cost import Progress
from camixersr.inference.deadline import measure_speed
from camixersr.inference.pace import Speed
from camixersr.inference.sources import InMemory

__all__ = ["AlphaBy", "Cancel", "Runs", "Steps", "beyond", "enlarge"]

AlphaBy = Literal["model", "bicubic"]

Cancel = Callable[[], bool]
"""Asked, between the network's blocks, whether to stop; such as `threading.Event().is_set`."""


class Runs(Protocol):
    """What enlarges planes by a whole factor: a `Computer`."""

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        ...

    def run(
        self,
        low: Pixels,
        *,
        attention_ratio: float | None,
        max_share: float,
        progress: Progress | None,
        panorama: Panorama | None,
    ) -> Enlarged:
        """As `camixersr.inference.computer.Computer.run`."""
        ...


class Steps:
    """Progress of one run among several, and the way to stop them.

    Args:
        progress: told how far all of them are.
        cancel: asked whether to stop.
        runs: how many there are.
    """

    def __init__(
        self, progress: Progress | None = None, cancel: Cancel | None = None, *, runs: int = 1
    ) -> None:
        self.progress, self.cancel, self.runs, self.begun = progress, cancel, runs, 0

    def __call__(self, done: int, total: int) -> None:
        """Be told how far the present run is.

        Raises:
            CancelledError: it is to stop.
        """
        self.check()
        if self.progress is not None:
            self.progress(self.begun * total + done, self.runs * total)

    def check(self) -> None:
        """Stop, if that is asked for.

        Raises:
            CancelledError: it is.
        """
        if self.cancel is not None and self.cancel():
            raise CancelledError("cancelled, as was asked for; nothing was left half-written")


def enlarge(
    upscaler: Runs,
    picture: Picture,
    *,
    size: tuple[int, int] | None = None,
    attention_ratio: float | None = None,
    max_share: float = 1.0,
    alpha_by: AlphaBy = "model",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    panorama: Panorama | None = None,
    restorer: Runs | None = None,
    until: float | None = None,
) -> tuple[Enlarged | None, Picture]:
    """Enlarge a decoded picture to any size.

    Args:
        upscaler: best with a model whose scale reaches `size`.
        picture: from `camixersr.image.decode.read`.
        size: height and width of the result; the model's own by default. Anything smaller is
            reduced to (bicubic, antialiased), and anything larger enlarged to (bicubic), which is
            noted; what is no larger than the picture needs no network, unless it restores (scale 1).
        attention_ratio: gamma in [0, 1]; None for what the model recommends.
        max_share: as for `Upscaler.run`.
        alpha_by: what enlarges transparency; a model that restores leaves it alone.
        progress: told how far it is.
        cancel: asked, several times a tile, whether to stop.
        panorama: what the picture shows of a sphere, see `camixersr.image.panorama.panorama_of`;
            None for a flat one.
        restorer: of scale 1: restores the picture first. The result is that of two steps with a lossless
            file between: the restored picture is rounded to the picture's depth.
        until: when the network must be done, of `time.monotonic`: that chooses the ratio; None for no
            deadline.

    Returns:
        What it cost, None if no network was needed; and the picture, of the same depth and
        channels, its metadata made true of its size.

    Raises:
        CancelledError: `cancel` said so.
        ImageError: the size is beyond the model's, and too large to be held.
        ShapeError: pixels of a dtype that pictures do not have.
        UsageError: unknown `alpha_by`.
        ValueRangeError: the ratio is out of range, or pixels are not finite.
    """
    if alpha_by not in get_args(AlphaBy):
        raise UsageError(f"unknown alpha {alpha_by!r}; use one of {', '.join(get_args(AlphaBy))}")
    restoring: Enlarged | None = None
    if restorer is not None:
        progress = first = Steps(progress, cancel, runs=2)
        restoring, restored = enlarge(
            restorer,
            picture,
            attention_ratio=attention_ratio if until is None else 0.0,  # what there is goes into enlarging
            max_share=max_share,
            alpha_by="bicubic",  # at scale 1: as it is
            progress=first,
            cancel=cancel,
            panorama=panorama,
        )
        first.begun = 1
        picture = replace(restored, metadata=picture.metadata)
    low = (picture.height, picture.width)
    whole = (upscaler.scale * low[0], upscaler.scale * low[1])
    size = size or whole
    further = beyond(low, size, upscaler.scale)
    if further and size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"expected at most {MAX_PIXELS:,} pixels beyond what the x{upscaler.scale} model makes, got "
            f"{size[1]} x {size[0]} of {low[1]} x {low[0]}; ask for less"
        )
    planes = Planes.of(picture.pixels, picture.alpha)
    form, alpha = planes.form, planes.alpha
    cost: Enlarged | None = None
    if upscaler.scale > 1 and size[0] <= low[0] and size[1] <= low[1]:
        pixels = form.pixels(planes.colour, size=size)
    else:
        by_model = alpha is not None and alpha_by == "model" and alpha.min() != alpha.max()
        by_model = by_model and upscaler.scale > 1
        steps = Steps(progress, cancel, runs=2 if by_model else 1)
        steps.check()

        speed: Speed | None = None
        if until is not None:
            assert isinstance(upscaler, Computer)
            speed, _ = measure_speed(upscaler, InMemory(planes.colour))

        def run(low: Pixels, part: float = 1.0) -> Enlarged:
            if speed is None or until is None:
                run_it = upscaler.run
            else:
                assert isinstance(upscaler, Computer)
                now = time.monotonic()
                run_it = partial(upscaler.run, pacing=(speed, now + part * (until - now)))
            return run_it(
                low,
                attention_ratio=attention_ratio,
                max_share=max_share,
                progress=steps,
                panorama=panorama,
            )

        cost = run(planes.colour, 0.5 if by_model else 1.0)
        pixels = form.pixels(cost.high, size=size)
        if alpha is not None and by_model:
            steps.begun += 1
            second = run(np.lib.stride_tricks.as_strided(alpha, (3, *low), (0, *alpha.strides)))
            alpha = keep_extremes(second.high.mean(axis=0).clip(0.0, 1.0), alpha, upscaler.scale)
            cost = _sum(cost, second)
        elif alpha is not None:
            alpha = enlarge_alpha(alpha, upscaler.scale)
    if alpha is not None and alpha.shape != size:
        alpha = resize(alpha, height=size[0], width=size[1])
    result = replace(
        picture,
        pixels=pixels,
        alpha=None if alpha is None else form.alpha(alpha),
        metadata=fitted(picture.metadata, low=low, high=size),
        notes=(*picture.notes, *([further] if further else [])),
    )
    if restoring is not None:
        cost = restoring if cost is None else _sum(cost, restoring)
    return cost, result


def beyond(low: tuple[int, int], high: tuple[int, int], scale: int) -> str:
    """What a person is told of a size that the model does not reach; empty where it does.

    Args:
        low: height, width of the picture.
        high: of the result.
        scale: of the model.
    """
    if high[0] <= scale * low[0] and high[1] <= scale * low[1]:
        return ""
    return (
        f"enlarged to {scale * low[1]} x {scale * low[0]} by the model (x{scale}), and from there to "
        f"{high[1]} x {high[0]} by bicubic interpolation; --at-most leaves that out"
    )


def _sum(one: Enlarged, other: Enlarged) -> Enlarged:
    """What two runs cost together; the picture and the map are the first one's."""
    memory = [each.peak_memory_bytes for each in (one, other) if each.peak_memory_bytes is not None]
    return replace(
        one,
        macs=one.macs + other.macs,
        tiles=one.tiles + other.tiles,
        seconds=one.seconds + other.seconds,
        peak_memory_bytes=max(memory, default=None),
    )
