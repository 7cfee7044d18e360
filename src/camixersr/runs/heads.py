"""What a picture's head alone decides: whether it is streamed, and whether the model suits it."""

from pathlib import Path

from camixersr.backends.protocol import AUTO_WHOLE
from camixersr.enlarge.files import why_held
from camixersr.errors import ImageError, UsageError
from camixersr.image.degradation import quality_of
from camixersr.image.stream import Look, look
from camixersr.runs.find import STREAM
from camixersr.runs.models import Models
from camixersr.runs.targets import Job
from camixersr.runs.work import Settings

__all__ = ["head_of_streamed", "quality_and_remarks"]

LOW_QUALITY = 75
"""Of a JPEG, at and below which restoring it first is suggested; see docs/restoration.md."""


def head_of_streamed(job: Job, models: Models, settings: Settings) -> Look | None:
    """The head of a picture that is to be enlarged from disk to disk.

    Args:
        job: with the picture.
        models: to choose from, with the options.
        settings: of the run.

    Returns:
        Its head; None if it is to be held in memory.

    Raises:
        UsageError: an option can only be kept by streaming, and this picture cannot be streamed.
    """
    options = models.options
    given = {"--memory": options.memory, "--seconds": options.seconds, "--spill": settings.spill}
    must = next((name for name, value in given.items() if value is not None), "")
    seen: Look | None = None
    if job.source == STREAM or job.target == STREAM:
        why = "neither standard input nor output can be"
    else:
        try:
            seen = look(
                job.source, color=options.colours, max_pixels=settings.max_pixels, salvage=options.salvage
            )
        except ImageError:
            return None  # the second decoder may know better, or say what is wrong
        low = (seen.layout.height, seen.layout.width)
        high = models.size(*low)
        why = why_held(seen, options, size=high, scale=models.scale_of(low, high))
    if why and must:
        raise UsageError(f"{must} is for pictures that are computed in tiles from the disk; {why}")
    if why or seen is None:
        return None
    large = options.tile != 0 and seen.layout.height * seen.layout.width > AUTO_WHOLE
    return seen if must or large else None


def quality_and_remarks(source: Path | bytes, models: Models) -> tuple[int | None, list[str]]:
    """A JPEG's quality, as far as it tells, and what a person wants to know of it.

    Args:
        source: the JPEG.
        models: to choose from.

    Returns:
        The quality; and whether the model that is to restore it knows that, or, where it is to be
        enlarged, that it looks better restored first.
    """
    if not models.restoring:
        quality = quality_of(source)
        if quality is None or quality > LOW_QUALITY:
            return quality, []
        return quality, [
            f"a JPEG of quality {quality}, whose blocks would be enlarged, too; it looks better if you "
            "`camixersr restore` it first and enlarge the result"
        ]
    model = models.of(models.default_scale).model
    quality, known = quality_of(source), model.restores
    if not quality or known is None or known.kind != "jpeg" or known.least <= quality <= known.most:
        return quality, []
    harm = "soften it" if quality > known.most else "not mend it all"
    return quality, [
        f"a JPEG of quality {quality}; {model.name} learnt from {known.least:g} to {known.most:g}, and may "
        f"{harm}"
    ]
