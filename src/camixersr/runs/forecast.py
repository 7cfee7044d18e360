"""What a long run over many pictures will take, in one line, before it begins."""

import random
import time
from collections.abc import Callable, Sequence

from camixersr.enlarge.forecast import LONG, PATCH, Estimate, estimate
from camixersr.errors import CamixerError
from camixersr.image.decode import read
from camixersr.image.planes import Planes
from camixersr.image.stream import Look, look
from camixersr.runs.models import Models
from camixersr.runs.targets import Job
from camixersr.runs.work import Settings
from camixersr.units import shown_time

__all__ = ["forecast"]

HEADS = 48
"""Most pictures whose heads are read; they stand for all."""

PATIENCE = 2.0
"""Seconds after which no more are read: those of some formats are slow."""


LEAST = 64
"""Side of the timed patch where memory is granted: every tile needs as much."""


def forecast(
    jobs: Sequence[Job], models: Models, settings: Settings, check: Callable[[], None]
) -> str | None:
    """Say how many pictures there are to be made, how large, and about how long that takes.

    Args:
        jobs: of the run.
        models: to choose from, with the options.
        settings: of the run.
        check: called between pictures; what it raises ends this.

    Returns:
        A line; None for a run that is not long, or of which nothing can be told.
    """
    options = models.options
    there = settings.resuming or settings.skipping
    left = [job for job in jobs if not (there and job.target.is_file())]
    seen: list[tuple[Job, Look]] = []
    began = time.perf_counter()
    for job in random.Random(0).sample(left, min(HEADS, len(left))):
        check()
        try:
            seen.append((job, look(job.source, color=options.colours, salvage=options.salvage)))
        except CamixerError:  # whose turn will come
            continue
        if time.perf_counter() - began > PATIENCE:
            break
    if not seen:
        return None
    low = high = computed = 0
    for _, each in seen:
        size = (each.layout.height, each.layout.width)
        larger = models.size(*size)
        low += size[0] * size[1]
        high += larger[0] * larger[1]
        if models.restoring or larger[0] > size[0] or larger[1] > size[1]:
            computed += size[0] * size[1]
    share = len(left) / len(seen)
    if len(left) < 2 or computed * share < LONG or options.preview:
        return None
    before, after = (f"{round(pixels * share / 1e6):,}" for pixels in (low, high))
    what = f"{len(left)} pictures, {before} -> {after} megapixels"
    if options.seconds is not None:
        return f"{what}; at most {shown_time(options.seconds * len(left))}"
    pace = _pace(seen, models, check)
    if pace is None:
        return what
    seconds = pace.seconds(round(computed * share), round(high * share))
    return f"{what}; about {shown_time(seconds)}"


def _pace(seen: Sequence[tuple[Job, Look]], models: Models, check: Callable[[], None]) -> Estimate | None:
    """Of the smallest picture that a whole patch can be cut from; None if it is damaged."""
    options = models.options
    side = PATCH if options.memory is None else LEAST  # no more memory than is granted

    def fitness(pair: tuple[Job, Look]) -> tuple[bool, int]:
        pixels = pair[1].layout.height * pair[1].layout.width
        return pixels < side**2, pixels

    job, head = min(seen, key=fitness)
    size = (head.layout.height, head.layout.width)
    check()
    try:
        picture = read(job.source, color=options.colours, salvage=options.salvage)
    except CamixerError:
        return None
    rows, columns = (
        slice(start, start + side)
        for start in (max(0, (length - side) // 2) for length in (picture.height, picture.width))
    )
    alpha = None if picture.alpha is None else picture.alpha[rows, columns]
    colour = Planes.of(picture.pixels[rows, columns], alpha).colour
    check()
    computer = models.reaching(size, models.size(*size))
    return estimate(computer, colour, job.target, options)
