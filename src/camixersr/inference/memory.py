"""How much memory a tile will take, before it takes it.

A fit, not a theory: the peak of the network grows linearly with the pixels that are computed at once.
The constants were fitted on x86-64 Linux to networks of 8 to 60 channels, and rounded up to the
worst that was seen, since the C library's allocator may keep freed maps (prepared, S, gamma 1:
1,640 to 2,250 bytes a low pixel computed at once, of the network alone);
`benchmarks/memory.py` sets prediction and measurement side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from camixersr.backends.devices import device_memory, resident_memory
from camixersr.backends.protocol import Limits
from camixersr.errors import MemoryLimitError
from camixersr.image.panorama import Panorama
from camixersr.image.raw import Layout
from camixersr.inference.tiles import GRID, Beyond, Tile, cut, smallest_tile
from camixersr.units import shown_bytes

__all__ = ["Memory"]

HIGH_COPIES = 4
"""Float copies of a tile's result: the network's, and that of the one being written."""

PROCESS = 256 * 2**20
"""Bytes of a process that computes for a device, before it does."""

MOST_TOGETHER = 16
"""Most tiles in a batch; more fill no device better."""

BATCH_PORTION = 0.5
"""Part of an accelerator's memory that a batch may be expected to take."""


@dataclass(frozen=True)
class Memory:
    """What the memory of a network's tiles depends on.

    Attributes:
        limits: of the backend.
        devices: that compute at once, by name.
        channels: C of the network.
        scale: high pixels a low pixel, a side.
        cell: side of the cells that tiles are aligned to, in low pixels; 0 for none.
    """

    limits: Limits
    devices: tuple[str, ...]
    channels: int
    scale: int
    cell: int

    @property
    def per_pixel(self) -> int:
        """Bytes for each low pixel that is computed at once."""
        footprint = self.limits.footprint
        high = HIGH_COPIES * 3 * self.scale**2
        return 4 * (footprint.maps * self.channels + footprint.planes + high)

    def batch(self, tiles: Sequence[Tile]) -> int:
        """How many tiles are computed at once where the batch is "auto"; one on the CPU.

        It follows from the memory that a device has, not from what is free of it: a tile's last bits
        depend on its company, and the same picture shall give the same bytes tomorrow (decision 0007).
        """
        memory = [device_memory(each) for each in self.devices]
        there = [each for each in memory if each is not None]
        if len(there) < len(memory):
            return 1
        largest = max(tile.pixels for tile in tiles) * self.per_pixel
        return max(1, min(MOST_TOGETHER, int(BATCH_PORTION * min(there)) // largest))

    def predict(
        self, layout: Layout, tile: int, held: int = 0, panorama: Panorama | None = None, *, batch: int = 1
    ) -> int:
        """Highest memory of a run, bytes: of all its processes, or of the accelerator where one is used.

        Args:
            layout: of the low picture.
            tile: low pixels a tile; 0 for the whole picture.
            held: bytes that the encoder keeps.
            panorama: what it shows of a sphere; its halos reach beyond its edges.
            batch: tiles computed at once.

        Returns:
            What is held now and what will come to it at most.
        """
        tiles = cut(layout.height, layout.width, tile, cell=self.cell, beyond=Beyond.of(panorama))
        pixels = max(each.pixels for each in tiles)
        device = self.devices[0]
        processes = self.devices.count(device)
        alone = len(self.devices) == 1 or device != "cpu"
        besides = 0 if alone else PROCESS * processes
        besides += resident_memory(device) + held + processes * self.limits.footprint.fixed
        return besides + processes * batch * pixels * self.per_pixel

    def largest_tile(
        self, layout: Layout, memory: int, held: int = 0, panorama: Panorama | None = None
    ) -> int:
        """The largest tile that keeps within some memory.

        Args:
            layout: of the low picture.
            memory: bytes granted.
            held: bytes that the encoder keeps.
            panorama: as for `predict`.

        Returns:
            Low pixels a side: a multiple of 16, and of the cells' side, at most the default.

        Raises:
            MemoryLimitError: the smallest tile needs more.
        """
        grid, least = self.cell or GRID, smallest_tile(self.cell)
        smallest = self.predict(layout, least, held, panorama)
        if smallest > memory:
            raise MemoryLimitError(
                f"{shown_bytes(memory)} of memory do not suffice: the smallest tile needs "
                f"{shown_bytes(smallest)} in all; grant that much with --memory"
                + (", or write PNG or TIFF, which are not encoded in memory" if held else "")
            )
        for tile in range(self.auto_tile, least, -grid):
            if self.predict(layout, tile, held, panorama) <= memory:
                return tile
        return least

    @property
    def auto_tile(self) -> int:
        """Largest side of a tile where the tile is "auto", in low pixels."""
        grid = self.cell or GRID
        return max(grid, self.limits.tile // grid * grid)
