"""The pages of a picture in memory, enlarged one after another, so that only one of them is held."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from camixersr.enlarge.enlarge import Cancel, Runs, Steps, enlarge
from camixersr.enlarge.options import Options
from camixersr.image.panorama import Panorama, panorama_of
from camixersr.image.picture import Picture
from camixersr.image.planes import Form, Planes
from camixersr.image.stream import encoding_seconds
from camixersr.inference.computer import Enlarged
from camixersr.inference.cost import Progress

__all__ = ["Until", "deadline_of", "enlarge_pages"]

SAMPLE = 256
"""Side of the part of a picture that the encoder is timed on."""

Until = Callable[[Picture, tuple[int, int], int], float | None]
"""Of a page, height and width of its result, and how many pages are left: when its network must be done."""


def deadline_of(
    options: Options, target: Path, picture: Picture, high: tuple[int, int], began: float, pages: int = 1
) -> float | None:
    """When the network must be done with a picture, of `time.monotonic`; None if there is no deadline.

    Args:
        options: with the seconds that there are.
        target: the result's file.
        picture: to enlarge.
        high: height, width of the result.
        began: when work on the file began, of `time.monotonic`.
        pages: that are left, this one counted.
    """
    if options.seconds is None:
        return None
    form = Planes.of(picture.pixels[:SAMPLE, :SAMPLE], None)
    sample = Form(np.dtype(np.uint8), grey=False).pixels(form.colour)
    writing = encoding_seconds(target, sample, options.write) * high[0] * high[1]
    now = time.monotonic()
    return now + (began + options.seconds - now) / pages - writing


def enlarge_pages(
    first: Picture,
    read: Callable[[int], Picture],
    options: Options,
    *,
    count: int,
    choose: Callable[[Picture, Panorama | None], tuple[Runs, tuple[int, int]]],
    notes: list[str],
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    restorer: Runs | None = None,
    until: Until = lambda page, high, left: None,
) -> Generator[tuple[Enlarged | None, Picture]]:
    """Enlarge the pages of a picture.

    Args:
        first: the first page.
        read: gives another, by its number.
        options: how.
        count: of the pages that are wanted.
        choose: gives the model for a page, and height and width of its result.
        notes: gets what a person wants to know of the pages.
        progress: told how far all of them are.
        cancel: asked whether to stop.
        turn: makes what is entered while the network is used.
        restorer: restores each page first.
        until: gives the deadline of a page, of `time.monotonic`; None for none.

    Yields:
        What a page cost, and the page, as `enlarge` returns them.

    Raises:
        CamixerError: as for `enlarge`.
    """
    steps = Steps(progress, cancel, runs=count)
    for number in range(count):
        low = first if number == 0 else read(number)
        panorama, remark = panorama_of(low.metadata, low.height, low.width, options.projection)
        notes.extend([remark] if remark else [])
        steps.begun = number
        computer, size = choose(low, panorama)
        with turn():
            cost, high = enlarge(
                computer,
                low,
                size=size,
                attention_ratio=options.attention_ratio,
                max_share=options.max_share,
                alpha_by=options.alpha,
                progress=steps,
                cancel=cancel,
                panorama=panorama,
                restorer=restorer,
                until=until(low, size, count - number),
            )
        notes.extend(high.notes)
        yield cost, high
