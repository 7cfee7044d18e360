"""What is told of a result: its facts, for JSON and the manifest, and the map of where attention went."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from camixersr import __version__
from camixersr.comparison import Routes
from camixersr.enlarge.options import Options
from camixersr.image.encode import write
from camixersr.image.picture import Picture, in_8_bits
from camixersr.image.stream import reduced
from camixersr.routemap import class_shares, render
from camixersr.runs.work import Work

__all__ = ["facts_of", "routes_of", "sizes_of", "write_route_map"]

LARGEST_MAP = 2048
"""Longest side of a streamed picture's route map, in pixels."""


def sizes_of(work: Work) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of a picture, and of its result, which has been written."""
    streamed = work.streamed
    low = streamed.look.layout if streamed else work.low
    high = streamed.layout if streamed else work.high
    assert low is not None
    assert high is not None
    return (low.height, low.width), (high.height, high.width)


def facts_of(work: Work, options: Options) -> dict[str, Any]:
    """The facts of a result: plain JSON values.

    `model_size` is what the model makes, and None where it was not needed; from there to `high_size` the
    picture was interpolated. `sphere` says what a panorama shows, in shares of the way around (`across`)
    and of that from pole to pole (`top`, `down`).

    Args:
        work: a picture whose result has been written.
        options: it was made with.
    """
    cost, upscaler, streamed = work.cost, work.computer, work.streamed
    low, high = sizes_of(work)
    assert upscaler is not None
    facts: dict[str, Any] = {
        "input": str(work.job.source),
        "output": str(work.job.target),
        "scale": upscaler.scale,
        "model": upscaler.model.name,
        "projection": "flat" if work.panorama is None else "erp",
        "low_size": [low[1], low[0]],
        "high_size": [high[1], high[0]],
        "model_size": [upscaler.scale * low[1], upscaler.scale * low[0]] if cost else None,
        "pages": work.pages,
        "seconds": round(work.seconds, 3),
        "peak_memory_bytes": cost.peak_memory_bytes if cost else None,
        "restored": work.restored,
        "attention_ratio": streamed.attention_ratio
        if streamed
        else upscaler.model.ratio(options.attention_ratio),
        "attention_share": round(cost.attention_share, 4) if cost else 0.0,
        "macs": cost.macs if cost else 0,
        "tiles": cost.tiles if cost else 0,
        "device": ",".join(upscaler.devices),
        "backend": upscaler.backend.name,
        "precision": cost.precision if cost else upscaler.precision,
        "version": __version__,
        "options": options.record(),
    }
    if work.panorama is not None:
        shown = work.panorama
        facts["sphere"] = {
            "across": min(1.0, shown.width / (2.0 * shown.sphere)),
            "top": shown.top / shown.sphere,
            "down": shown.height / shown.sphere,
        }
    if work.part is not None:
        facts["part"] = [work.part.left, work.part.top, work.part.width, work.part.height]
    if work.quality is not None or upscaler.model.restores is not None:
        facts["quality"] = work.quality
    if upscaler.model.restores is not None:
        facts["restores"] = asdict(upscaler.model.restores)
    if cost is not None and cost.classes is not None:
        facts["classes"] = [round(share, 4) for share in class_shares(cost.classes)]
    if streamed is not None:
        facts |= {
            "tile": streamed.tile,
            "predicted_memory_bytes": streamed.predicted_memory_bytes,
            "resumed_tiles": streamed.resumed,
        }
    return facts


def routes_of(work: Work) -> Routes | None:
    """Where attention went, for a layer over the result; None where the network was not needed.

    Args:
        work: a picture whose result has been written.
    """
    if work.cost is None or work.computer is None:
        return None
    low, high = sizes_of(work)
    window = work.computer.model.config.window
    return Routes(work.cost.shares, (window * high[0] / low[0], window * high[1] / low[1]))


def write_route_map(path: Path, work: Work) -> list[str]:
    """Write a map of where attention went, over the picture, or over a reduced copy of a large one.

    Returns:
        Why there is none, in words; empty if there is.
    """
    cost, upscaler = work.cost, work.computer
    if cost is None or upscaler is None:
        return ["it has no route map: the network was not needed"]
    side = window = upscaler.model.config.window
    if work.streamed is not None:
        side = max(1, min(window, LARGEST_MAP // max(cost.shares.shape)))
        layout = work.streamed.look.layout
        height, width = (max(1, length * side // window) for length in (layout.height, layout.width))
        image = reduced(work.job.source, height=height, width=width)
    else:
        assert work.low is not None
        image = in_8_bits(work.low.pixels)
    canvas = render(
        image, cost.shares, side=side, attention_share=cost.attention_share, classes=cost.classes
    )
    write(path, Picture(np.asarray(canvas)))
    return []
