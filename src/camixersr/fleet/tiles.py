"""Tiles of a picture that workers share: read from where it lies, computed, and written as blocks.

A worker reads the part of the raw picture that its tile needs, computes it as one machine does, and writes
the pixels that the tile owns as a block beside the results.
"""

import json
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.devices import set_threads
from camixersr.enlarge.options import Options
from camixersr.enlarge.spilled import High, Low
from camixersr.fleet.places import Place, Store
from camixersr.image.panorama import Panorama
from camixersr.image.raw import Layout
from camixersr.inference.computer import Computer
from camixersr.inference.plan import Plan
from camixersr.inference.schedule import compute_here
from camixersr.inference.sources import Source
from camixersr.inference.sphere import Spherical
from camixersr.weights import Model

__all__ = ["Blocks", "Far", "TileOrders", "Tiles"]


class Far:
    """A raw picture in a store, read by ranges: see `camixersr.enlarge.spilled.Readable`.

    Args:
        store: where it lies.
        key: of it.
        layout: what it holds.
    """

    def __init__(self, store: Store, key: str, layout: Layout) -> None:
        self._store, self._key, self.layout = store, key, layout

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Read a rectangle: h x w x bands."""
        layout, width = self.layout, columns.stop - columns.start
        pixel = layout.pixel
        if width == layout.width:
            spans = [(rows.start * width * pixel, rows.stop * width * pixel)]
        else:
            starts = [(row * layout.width + columns.start) * pixel for row in range(rows.start, rows.stop)]
            spans = [(start, start + width * pixel) for start in starts]
        content = b"".join(self._store.ranges(self._key, spans))
        return np.frombuffer(content, layout.dtype).reshape(rows.stop - rows.start, width, layout.bands)

    def close(self) -> None:
        """Nothing is open."""


class Blocks:
    """A raw result that is written as blocks into a store: see `camixersr.enlarge.spilled.Writable`.

    Args:
        store: where they go.
        prefix: of their keys.
        layout: of the result.

    Attributes:
        written: of each block its key, and where it goes: top, left, height, width; in high pixels.
    """

    def __init__(self, store: Store, prefix: str, layout: Layout) -> None:
        self._store, self._prefix, self.layout = store, prefix, layout
        self.written: list[tuple[str, int, int, int, int]] = []

    def write(self, top: int, left: int, pixels: NDArray[Any]) -> None:
        """Write h x w x bands at a place."""
        key = f"{self._prefix}{top}-{left}.raw"
        self._store.write(key, np.ascontiguousarray(pixels).tobytes())
        self.written.append((key, top, left, *pixels.shape[:2]))

    def sync(self) -> None:
        """What is written is there."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, kw_only=True)
class TileOrders:
    """What workers are told of a picture whose tiles they share.

    Attributes:
        place: where its raw picture lies, and blocks go.
        low: key of the raw picture.
        prefix: of blocks.
        low_layout: of the picture.
        high_layout: of the result that the model makes.
        model: that computes.
        options: which backend and device.
        plan: of the picture: all tiles, and what each must know of the others.
        panorama: what the picture shows of a sphere; None for a flat one.
        threads: that a worker computes with; None for all.
    """

    place: Place
    low: str
    prefix: str
    low_layout: Layout
    high_layout: Layout
    model: Model
    options: Options
    plan: Plan
    panorama: Panorama | None
    threads: int | None


class Tiles:
    """A worker for tiles of one picture; a row in is a batch, a row out what was done, and blocks.

    Args:
        orders: of the picture.
        store: open; by default it is opened here.
    """

    def __init__(self, orders: TileOrders, store: Store | None = None) -> None:
        if orders.threads is not None:
            set_threads(orders.threads)
        options = orders.options
        self._backend = Computer(
            orders.model,
            backend=options.backend,
            device=options.device,
            precision=options.precision,
            tile=options.tile,
            batch=options.batch,
        ).backend
        self._orders = orders
        self._store = orders.place.open() if store is None else store
        self._raw = Far(self._store, orders.low, orders.low_layout)
        self._source: Source = Low(self._raw)
        if orders.panorama is not None:
            self._source = Spherical(self._source, orders.panorama, orders.model.config.latitude)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Compute a batch of tiles."""
        orders, batch = self._orders, tuple(json.loads(row["batch"]))
        blocks = Blocks(self._store, orders.prefix, orders.high_layout)
        canvas = High(self._raw, blocks)
        done = list(
            compute_here(
                self._backend, orders.plan, iter([batch]), self._source, canvas, lambda pixels: lambda: None
            )
        )
        return {"done": pickle.dumps(done[0]), "blocks": json.dumps(blocks.written)}
