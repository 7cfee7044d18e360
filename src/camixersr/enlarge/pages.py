"""The pages of a picture in memory, enlarged one after another, so that only one of them is held."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext

from camixersr.enlarge.enlarge import Cancel, Runs, Steps, enlarge
from camixersr.enlarge.options import Options
from camixersr.image.panorama import Panorama, panorama_of
from camixersr.image.picture import Picture
from camixersr.inference.computer import Enlarged
from camixersr.inference.cost import Progress

__all__ = ["enlarge_pages"]


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
            )
        notes.extend(high.notes)
        yield cost, high
