"""How much memory a tile will take, before it takes it.

A fit, not a theory: the peak of the network grows linearly with the pixels that are computed at once.
The constants were fitted on x86-64 Linux to networks of 8 to 60 channels, and rounded up to the
worst that was seen, since the C library's allocator may keep freed maps (prepared, S, gamma 1:
1,640 to 2,250 bytes a low pixel computed at once, of the network alone);
`benchmarks/memory.py` sets prediction and measurement side by side.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from camixersr.errors import MemoryLimitError
from camixersr.image.panorama import Panorama
from camixersr.image.stream import Layout
from camixersr.inference.cost import resident_memory
from camixersr.inference.engine import Footprint
from camixersr.inference.tiles import GRID, Tile, smallest_tile
from camixersr.units import shown_bytes

if TYPE_CHECKING:
    from camixersr.inference.upscaler import Upscaler

__all__ = ["batch_size", "largest_tile", "predict"]

PLAIN = Footprint(34, 350)
"""Of the network in eager torch."""

PREPARED = Footprint(14, 60)
"""The same where the network runs prepared: most of it exists for a band of rows only."""

HIGH_COPIES = 4
"""Float copies of a tile's result: the network's, and that of the one being written."""

PROCESS = 256 * 2**20
"""Bytes of a process that computes for a device, before it does."""

MOST_TOGETHER = 16
"""Most tiles in a batch; more fill no device better."""

BATCH_PORTION = 0.5
"""Part of an accelerator's memory that a batch may be expected to take."""


def batch_size(upscaler: "Upscaler", tiles: Sequence[Tile]) -> int:
    """How many tiles are computed at once.

    It follows from the memory that a device has, not from what is free of it: a tile's last bits
    depend on its company, and the same picture shall give the same bytes tomorrow (decision 0007).

    Args:
        upscaler: what computes them; on the CPU its `batch` "auto" is one, and always with an engine
            that takes one at a time.
        tiles: of the picture.

    Returns:
        From 1.
    """
    if upscaler.engine is not None and not upscaler.engine.together:
        return 1
    if upscaler.batch != "auto":
        return upscaler.batch
    if any(each.type != "cuda" for each in upscaler.devices):
        return 1
    memory = min(torch.cuda.get_device_properties(each).total_memory for each in upscaler.devices)
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
    """Highest memory of a run, bytes: of all its processes, or of the accelerator where one is used.

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
    tiles = upscaler.cut(layout.height, layout.width, tile, panorama)
    pixels = max(each.pixels for each in tiles)
    hands = sum(each == upscaler.device for each in upscaler.devices)
    alone = len(upscaler.devices) == 1 or upscaler.device.type != "cpu"
    besides = 0 if alone else PROCESS * hands
    besides += resident_memory(upscaler.device) + held + hands * _footprint(upscaler).fixed
    return besides + hands * batch * pixels * _per_pixel(upscaler)


def _footprint(upscaler: "Upscaler") -> Footprint:
    if upscaler.engine is not None:
        return upscaler.engine.footprint
    return PREPARED if upscaler.is_prepared else PLAIN


def _per_pixel(upscaler: "Upscaler") -> int:
    config, footprint = upscaler.model.config, _footprint(upscaler)
    return 4 * (footprint.maps * config.channels + footprint.planes + HIGH_COPIES * 3 * config.scale**2)


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
        Low pixels a side: a multiple of 16, and of the cells' side, at most the default.

    Raises:
        MemoryLimitError: the smallest tile needs more.
    """
    grid, least = upscaler.cell or GRID, smallest_tile(upscaler.cell)
    smallest = predict(upscaler, layout, least, held, panorama)
    if smallest > memory:
        raise MemoryLimitError(
            f"{shown_bytes(memory)} of memory do not suffice: the smallest tile needs "
            f"{shown_bytes(smallest)} in all; grant that much with --memory"
            + (", or write PNG or TIFF, which are not encoded in memory" if held else "")
        )
    for tile in range(upscaler.auto_tile, least, -grid):
        if predict(upscaler, layout, tile, held, panorama) <= memory:
            return tile
    return least
