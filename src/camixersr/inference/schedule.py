"""Batches of tiles, one after another: the next is read ahead and the last is written behind.

Every pixel has one owner and a batch is the same whoever computes it, so that neither who nor when shows
in the result.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from camixersr.backends.protocol import Backend, Planes
from camixersr.inference.compute import Watch, compute_batch
from camixersr.inference.cost import Done
from camixersr.inference.plan import Plan
from camixersr.inference.sources import Canvas, Piece, Source
from camixersr.inference.tiles import owned

__all__ = ["Batch", "compute_here"]

Batch = tuple[int, ...]
"""Numbers of tiles of a plan, that are computed together."""


def compute_here(
    backend: Backend, plan: Plan, batches: Iterator[Batch], source: Source, canvas: Canvas, watch: Watch
) -> Generator[list[Done]]:
    """Compute batches in this thread, while the next is read and the last is written in others.

    Args:
        backend: what computes.
        plan: of the picture.
        batches: what is to be done, from `camixersr.inference.tiles.group`; asked in a thread.
        source: the picture, which is read in a thread, one call at a time.
        canvas: where results go; likewise.
        watch: told how far it is.

    Yields:
        Of each batch what was done, once it is kept, in the order given.

    Raises:
        MemoryLimitError: the memory does not suffice for the smallest tile.
    """

    def fetch() -> tuple[Batch, list[Planes]] | None:
        batch = next(batches, None)
        if batch is None:
            return None
        return batch, [source.read(*plan.tiles[number].computed) for number in batch]

    def keep(batch: Batch, of_tiles: list[list[Piece]]) -> list[Done]:
        for number, pieces in zip(batch, of_tiles, strict=True):
            canvas.put(plan.tiles[number], pieces)
        canvas.flush()
        return [_sum_up(number, plan, pieces) for number, pieces in zip(batch, of_tiles, strict=True)]

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        writing: Future[list[Done]] | None = None
        ahead = reader.submit(fetch)
        while (read := ahead.result()) is not None:
            batch, lows = read
            ahead = reader.submit(fetch)
            of_tiles = compute_batch(backend, plan, [plan.tiles[number] for number in batch], lows, watch)
            if writing is not None:
                yield writing.result()
            writing = writer.submit(keep, batch, of_tiles)
            del of_tiles, lows, read
        if writing is not None:
            yield writing.result()


def _sum_up(number: int, plan: Plan, pieces: Sequence[Piece]) -> Done:
    """What is known of a tile from its pieces."""
    rows, columns = owned(plan.tiles[number], plan.window)
    attended = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int64)
    for piece in pieces:
        y, x = owned(piece.tile, plan.window)
        part = (
            slice(y.start - rows.start, y.stop - rows.start),
            slice(x.start - columns.start, x.stop - columns.start),
        )
        attended[part] = piece.attended
    return Done(
        number,
        attended,
        next((each.precision for each in pieces if each.precision != "fp32"), "fp32"),
        windows=sum(each.windows for each in pieces),
        computed=sum(each.computed for each in pieces),
        pieces=len(pieces),
    )
