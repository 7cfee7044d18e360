"""What a picture is and what would become of it, before anything is made."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from camixersr.enlarge.forecast import PATCH, estimate
from camixersr.enlarge.options import Options
from camixersr.image.degradation import quality_of
from camixersr.image.encode import write
from camixersr.image.formats import suffix_for
from camixersr.image.metadata import BLOCKS, PNG_COLOUR, RESOLUTION
from camixersr.image.panorama import panorama_of
from camixersr.image.part import Part, read_part
from camixersr.image.picture import MAX_PIXELS, Picture
from camixersr.image.planes import Planes
from camixersr.image.stream import Look, look
from camixersr.runs.models import Models

__all__ = ["about"]


def about(
    path: Path, options: Options, *, measure: bool = True, max_pixels: int = MAX_PIXELS
) -> dict[str, Any]:
    """Look at a picture's head, and tell what `upscale_files` would do with it.

    Args:
        path: the picture.
        options: how it would be enlarged.
        measure: also time a patch of it, which takes some seconds.
        max_pixels: larger pictures are refused.

    Returns:
        `size` (width, height), `format`, `depth` ("8", "16" or "float"), `alpha`, `pages`, `carries` (names
        of metadata), `panorama`, `jpeg_quality` (None of other files); and of the result: `result_size`,
        `result_format` (suffix), `lost` (what that cannot hold, in words), `model` (empty if it is only
        reduced), `restored` (whether compression is undone first), and `seconds` (None if not measured).

    Raises:
        ImageError: no picture, or none that can be read.
        CamixerError: a model or device that is not there.
    """
    seen = look(path, color=options.colours, max_pixels=max_pixels, salvage=options.salvage)
    models = Models(options, restoring=False, say=lambda line: None)
    low = (seen.layout.height, seen.layout.width)
    high = models.size(*low)
    panorama, remark = panorama_of(seen.metadata, *low, options.projection)
    suffix, why = suffix_for(
        seen.kind,
        height=high[0],
        width=high[1],
        depth=seen.depth,
        name_suffix=path.suffix,
        wide=PNG_COLOUR in seen.metadata,
        alpha=seen.layout.alpha,
    )
    suffix = options.suffix or suffix
    quality = quality_of(path)
    restored, enlarged = options.restores(quality), high[0] > low[0] or high[1] > low[1]
    computer = models.reaching(low, high, panorama=panorama) if enlarged else None
    seconds = None
    if measure and computer is not None:
        patch = _patch(path, low, max_pixels)
        pixels = low[0] * low[1]
        seconds = estimate(computer, patch, Path(f"x{suffix}"), options).seconds(pixels, high[0] * high[1])
        if restored:
            seconds += estimate(models.restorer, patch, Path(f"x{suffix}"), options).seconds(pixels, 0)
    return {
        "size": [low[1], low[0]],
        "format": seen.kind,
        "depth": seen.depth,
        "alpha": seen.layout.alpha,
        "pages": seen.pages,
        "carries": _carried(seen),
        "panorama": panorama is not None,
        "jpeg_quality": quality,
        "result_size": [high[1], high[0]],
        "result_format": suffix,
        "lost": [*([why] if why and not options.suffix else []), *_lost(seen, suffix, options)],
        "model": "" if computer is None else computer.model.name,
        "restored": restored,
        "seconds": seconds,
        "notes": [*seen.notes, *([remark] if remark else [])],
    }


def _carried(seen: Look) -> list[str]:
    known = {**BLOCKS, RESOLUTION[0]: "resolution"}
    return [words for name, words in known.items() if name in seen.metadata]


def _lost(seen: Look, suffix: str, options: Options) -> list[str]:
    """What the result's format cannot hold: found out with a few pixels that carry the same."""
    layout = seen.layout
    shape = (8, 8, layout.bands - layout.alpha)
    few = Picture(
        np.zeros(shape, layout.dtype),
        np.zeros(shape[:2], layout.dtype) if layout.alpha else None,
        metadata=seen.metadata,
        kind=seen.kind,
        lossless=seen.lossless,
    )
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / f"few{suffix}", few, options.write)


def _patch(path: Path, low: tuple[int, int], max_pixels: int) -> Any:
    """The middle of the picture, for the network."""
    height, width = (min(length, PATCH) for length in low)
    part = Part((low[0] - height) // 2, (low[1] - width) // 2, height, width)
    pixels = read_part(path, part, max_pixels=max_pixels)
    return Planes.of(pixels[:, :, :3], None).colour
