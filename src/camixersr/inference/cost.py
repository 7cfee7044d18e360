"""What a run costs: counted while it runs, for the progress bar, and summed up at the end."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.devices import peak_memory, reset_peak_memory
from camixersr.backends.protocol import Routed, Step
from camixersr.inference.tiles import Tile, owned
from camixersr.models import Config
from camixersr.models.classes import PATCH
from camixersr.operations import count, count_classifier

__all__ = [
    "Bill",
    "Cost",
    "Done",
    "Progress",
]

Progress = Callable[[int, int], None]
"""Called with the work done and the work in all, in low pixels times blocks."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an enlargement cost.

    Attributes:
        shares: ceil(H/M) x ceil(W/M): for every window the share of blocks that attended it.
        attention_share: windows attended, of all windows in all blocks, in [0, 1].
        macs: multiply-adds that ran, halos and the first look included, see `camixersr.operations`.
        tiles: pieces computed.
        seconds: wall time of the network.
        peak_memory_bytes: highest memory of the process, or of all that took part (of the first
            accelerator, where one is used) meanwhile; None where the system does not tell.
        precision: what was computed in; "fp32" also where reduced precision always overflowed.
        classes: ceil(H/M) x ceil(W/M): of a ClassSR the class of every window; else None.
    """

    shares: NDArray[np.float64]
    attention_share: float
    macs: int
    tiles: int
    seconds: float
    peak_memory_bytes: int | None
    precision: str
    classes: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Done:
    """What is known of a tile whose pixels are kept.

    Attributes:
        number: of the tile.
        attended: rows x columns: how many blocks attended each window that the tile owns.
        precision: what it was computed in.
        windows: windows computed, the halo's included.
        computed: how often these were attended, over all blocks.
        pieces: it was computed in.
    """

    number: int
    attended: NDArray[np.int64]
    precision: str
    windows: int
    computed: int
    pieces: int = 1


class Bill:
    """Counts what runs.

    Args:
        config: of the network.
        device: where it runs.
        height: low pixels of the picture.
        width: low pixels of it.
        progress: told how far it is.
    """

    def __init__(
        self,
        config: Config,
        device: str,
        height: int,
        width: int,
        progress: Progress | None = None,
    ) -> None:
        M = config.window
        self._config = config
        self._device = device
        self._blocks = sum(config.blocks)
        self._progress = progress
        self._done = self._total = 0
        self._attended = np.zeros((-(-height // M), -(-width // M)), np.int64)
        self._windows_computed = self._attended_computed = self._tiles = 0
        self._precisions: set[str] = set()
        self._classes: NDArray[np.int64] | None = None
        self._patches = -(-height // PATCH) * -(-width // PATCH)
        self._elsewhere: dict[int, int] = {}
        self._began = time.perf_counter()
        reset_peak_memory(device)

    def expect(self, pixels: int) -> None:
        """Say that this many low pixels will be computed."""
        self._total += pixels * self._blocks

    def watch(self, pixels: int) -> Step:
        """What tells, block by block, how far the computation of so many low pixels is."""
        return lambda: self.advance(pixels)

    def advance(self, steps: int) -> None:
        """Say that a block of so many low pixels is computed."""
        self._done = min(self._done + steps, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)

    def looked(self, routed: Routed) -> None:
        """Count what the network computed besides tiles."""
        self._windows_computed += routed.attended[0].size
        self._attended_computed += int(routed.attended.sum())

    def classified(self, classes: NDArray[np.int64]) -> None:
        """Count the classification of the picture, and keep its windows' classes."""
        self._classes = classes

    def tile(self, tile: Tile, done: Done) -> None:
        """Count a tile."""
        self._attended[owned(tile, self._config.window)] = done.attended
        self._precisions.add(done.precision)
        self._windows_computed += done.windows
        self._attended_computed += done.computed
        self._tiles += done.pieces

    def skip(self, tile: Tile, done: Done) -> None:
        """Count a tile that an earlier run computed."""
        self.tile(tile, done)
        self._total -= tile.pixels * self._blocks  # no work of this run: it would belie the time left

    def reuse(self, tile: Tile, done: Done) -> None:
        """Count a tile whose pixels are those of the picture before: it shows, and costs nothing."""
        self._attended[owned(tile, self._config.window)] = done.attended
        self._precisions.add(done.precision)
        self._total -= tile.pixels * self._blocks

    def elsewhere(self, process: int, peak: int | None) -> None:
        """Count the highest memory of another process, by its number."""
        self._elsewhere[process] = max(self._elsewhere.get(process, 0), peak or 0)

    def cost(self) -> Cost:
        """Sum up."""
        attended = self._attended.astype(np.float64) / self._blocks
        reduced = sorted(self._precisions - {"fp32"})
        return Cost(
            shares=attended,
            attention_share=float(attended.mean()),
            macs=count(self._config, windows=self._windows_computed, attended=self._attended_computed).total
            + (count_classifier(self._patches) if self._classes is not None else 0),
            tiles=self._tiles,
            seconds=time.perf_counter() - self._began,
            peak_memory_bytes=self.peak_memory(),
            precision=reduced[0] if reduced else "fp32",
            classes=self._classes,
        )

    def peak_memory(self) -> int | None:
        """Highest memory, bytes: of all processes where the CPU computes, else of the first accelerator."""
        peak = peak_memory(self._device)
        if self._device != "cpu":
            return self._elsewhere.get(0, peak)
        return None if peak is None else peak + sum(self._elsewhere.values())
