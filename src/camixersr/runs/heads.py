"""What a picture's head alone decides: whether it is streamed, and whether the model suits it."""

from pathlib import Path

from camixersr.enlarge.files import head_of_streamed as head_of
from camixersr.enlarge.files import refuse_held
from camixersr.enlarge.options import LOW_QUALITY
from camixersr.image.degradation import quality_of
from camixersr.image.stream import Look
from camixersr.runs.find import STREAM
from camixersr.runs.models import Models
from camixersr.runs.targets import Job
from camixersr.runs.work import Settings

__all__ = ["head_of_streamed", "quality_and_remarks"]


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
    if STREAM in (job.source, job.target):
        given = {"--memory": options.memory, "--spill": settings.spill}
        for name, value in given.items():
            if value is not None:
                raise refuse_held(name, "neither standard input nor output can be")
        return None

    def sized(height: int, width: int) -> tuple[tuple[int, int], int]:
        high = models.size(height, width)
        return high, models.scale_of((height, width), high)

    return head_of(
        job.source,
        options,
        sized,
        tile=options.tile,
        spill=settings.spill,
        max_pixels=settings.max_pixels,
        named="--{}",
    )


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
        if quality is None or quality > LOW_QUALITY or models.options.restore != "off":
            return quality, []
        return quality, [
            f"a JPEG of quality {quality}, whose blocks would be enlarged, too; it looks better with "
            "--restore auto"
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
