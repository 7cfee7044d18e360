"""The page that compares a result with its picture, made from the files as they are on the disk."""

import math
from dataclasses import replace
from pathlib import Path

from camixersr.comparison import page
from camixersr.image.files import replacing, shown
from camixersr.image.part import Part, bicubic_part, most_detailed, read_part
from camixersr.image.stream import reduced
from camixersr.runs.facts import routes_of, sizes_of
from camixersr.runs.work import Settings, Work

__all__ = ["write_comparison"]

LARGEST = 6_000_000
"""Pixels of the result that a page shows: some megabytes."""
OVERVIEW = 1024
"""Longest side of the copy of a streamed picture in which the part with most detail is looked for."""


def write_comparison(path: Path, work: Work, content: Path | bytes, settings: Settings) -> list[str]:
    """Write the page.

    Args:
        path: where.
        work: a picture whose result has been written.
        content: the picture's file, or its content.
        settings: of the run.

    Returns:
        What a person wants to know of it, in words.

    Raises:
        OutputError: it cannot be written.
    """
    upscaler, cost = work.computer, work.cost
    assert upscaler is not None
    low, high = sizes_of(work)
    part, remark = Part(0, 0, *low), ""
    if high[0] * high[1] > LARGEST:
        part = _detailed(work, low, math.sqrt(LARGEST / (high[0] * high[1])))
        remark = (
            f"The page shows the part with most detail, {part.width} x {part.height} of "
            f"{low[1]} x {low[0]} pixels of the picture."
        )
    shows = part.scaled(low, high)
    margin = 4 * max(1, math.ceil(max(low[0] / high[0], low[1] / high[1])))
    around = part.around(margin, low)
    origin = (0, 0) if work.part is None else (work.part.top, work.part.left)
    there = replace(around, top=around.top + origin[0], left=around.left + origin[1])
    source = read_part(content, there, max_pixels=settings.max_pixels)
    factor = high[1] / low[1]
    routes = routes_of(work)
    if routes is not None:
        routes = replace(routes, left=shows.left, top=shows.top)
    facts = {
        "Picture": f"{low[1]} x {low[0]}",
        "Result": f"{high[1]} x {high[0]}" + (f" (x{factor:.3g})" if high != low else ""),
        "Model": upscaler.model.name if cost else "none, only reduced",
        **({"Windows attended": f"{100 * cost.attention_share:.0f} %"} if cost else {}),
        "Keys": "left, right: slider; Shift and arrows: picture; +, -, 0, 1: zoom; R: route map",
    }
    text = page(
        bicubic_part(source, around, shows, low=low, high=high),
        read_part(work.job.target, shows),
        title=f"{shown(work.job.source.name)}: before and after",
        names=("as it was" if high == low else "bicubic", "camixersr"),
        facts=facts,
        remark=remark,
        routes=routes,
    )
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return [f"{shown(path)}: {remark[0].lower()}{remark[1:-1]}"] if remark else []


def _detailed(work: Work, low: tuple[int, int], share: float) -> Part:
    """The part with most detail, of so much of each side."""
    if work.low is not None:
        overview = work.low.pixels
        small = low
    else:
        factor = min(1.0, OVERVIEW / max(low))
        small = (max(1, round(low[0] * factor)), max(1, round(low[1] * factor)))
        overview = reduced(work.job.source, height=small[0], width=small[1])
    found = most_detailed(overview, max(1, round(small[0] * share)), max(1, round(small[1] * share)))
    place = found.scaled(small, low)
    height, width = max(1, int(low[0] * share)), max(1, int(low[1] * share))
    return Part(min(place.top, low[0] - height), min(place.left, low[1] - width), height, width)
