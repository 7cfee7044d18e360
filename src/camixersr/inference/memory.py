"""How much memory a tile will take, before it takes it.

A fit, not a theory: the peak of the network grows linearly with the pixels that are computed at once.
The constants were fitted on x86-64 Linux to networks of 8 to 60 channels, and rounded up to the
worst that was seen, since the C library's allocator may keep freed maps (prepared, S, gamma 1:
1,640 to 2,250 bytes a low pixel computed at once, of the network alone);
`benchmarks/memory.py` sets prediction and measurement side by side.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from camixersr.errors import MemoryLimitError
from camixersr.image.panorama import Panorama
from camixersr.image.stream import Layout
from camixersr.inference.cost import resident_memory
from camixersr.inference.tiles import GRID, SMALLEST, Beyond, Tile, cut

if TYPE_CHECKING:
    from camixersr.inference.upscaler import Upscaler

__all__ = ["batch_size", "largest_tile", "predict"]

MAPS, PLANES = 34, 350
"""Feature maps of C channels that are alive at the peak, in fp32, and single channels beside them: the
tail's output, offsets, addresses of the warp."""

PREPARED_MAPS, PREPARED_PLANES = 14, 60
"""The same where the network runs prepared: most of it exists for a band of rows only."""

HIGH_COPIES = 4
"""Float copies of a tile's result: the network's, and that of the one being written."""

FIXED = 64 * 2**20
"""Bytes that do not depend on the tile: buffers of decoder and encoder, the allocator's slack."""


MOST_TOGETHER = 16
"""Most tiles in a batch; more fill no device better."""

BATCH_PORTION = 0.5
"""Part of an accelerator's memory that a batch may be expected to take."""


def batch_size(upscaler: "Upscaler", tiles: Sequence[Tile]) -> int:
    """How many tiles are computed at once.

    It follows from the memory that a device has, not from what is free of it: a tile's last bits
    depend on its company, and the same picture shall give the same bytes tomorrow (decision 0007).

    Args:
        upscaler: what computes them; on the CPU its `batch` "auto" is one, and always with an engine.
        tiles: of the picture.

    Returns:
        From 1.
    """
    if upscaler.engine is not None:
        return 1
    if upscaler.batch != "auto":
        return upscaler.batch
    if any(each.device.type != "cuda" for each in upscaler.crew):
        return 1
    memory = min(torch.cuda.get_device_properties(each.device).total_memory for each in upscaler.crew)
    largest = max(tile.pixels for tile in tiles) * _per_pixel(upscaler)
    return max(1, min(MOST_TOGETHER, int(BATCH_PORTION * memory) // largest))


def predict(
    upscaler: "Upscaler",
    layout: Layout,
    tile: int,
    held: int = 0,
    panorama: Panorama | None = None,
    *,
    batch: int = 1,
) -> int:
    """Highest memory of a run, bytes: of the process, or of the accelerator where one is used.

    Args:
        upscaler: the model.
        layout: of the low picture.
        tile: low pixels a tile; 0 for the whole picture.
        held: bytes that the encoder keeps.
        panorama: what it shows of a sphere; its halos reach beyond its edges.
        batch: tiles computed at once.

    Returns:
        What is held now and what will come to it at most.
    """
    tiles = cut(layout.height, layout.width, tile, beyond=Beyond.of(panorama))
    pixels = max(each.pixels for each in tiles)
    hands = sum(each.device == upscaler.device for each in upscaler.crew)
    return resident_memory(upscaler.device) + held + FIXED + hands * batch * pixels * _per_pixel(upscaler)


def _per_pixel(upscaler: "Upscaler") -> int:
    config = upscaler.model.config
    maps, planes = (PREPARED_MAPS, PREPARED_PLANES) if upscaler.is_prepared else (MAPS, PLANES)
    return 4 * (maps * config.channels + planes + HIGH_COPIES * 3 * config.scale**2)


def largest_tile(
    upscaler: "Upscaler", layout: Layout, memory: int, held: int = 0, panorama: Panorama | None = None
) -> int:
    """The largest tile that keeps within some memory.

    Args:
        upscaler: the model.
        layout: of the low picture.
        memory: bytes granted.
        held: bytes that the encoder keeps.
        panorama: as for `predict`.

    Returns:
        Low pixels a side: a multiple of 16, at most the default.

    Raises:
        MemoryLimitError: the smallest tile needs more.
    """
    smallest = predict(upscaler, layout, SMALLEST, held, panorama)
    if smallest > memory:
        raise MemoryLimitError(
            f"{memory / 2**20:.0f} MB of memory do not suffice: the smallest tile needs "
            f"{math.ceil(smallest / 2**20)} MB in all; grant that much with --memory"
            + (", or write PNG or TIFF, which are not encoded in memory" if held else "")
        )
    for tile in range(upscaler.auto_tile, SMALLEST, -GRID):
        if predict(upscaler, layout, tile, held, panorama) <= memory:
            return tile
    return SMALLEST
