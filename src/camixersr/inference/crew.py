"""One picture, several hands: batches of tiles are read ahead and shared among devices.

A device takes the next batch when it has done its last one. Every pixel has one owner and a batch is
the same whoever computes it, so that neither who nor when shows in the result.

One thread a device, not a process: a thread only launches work, and a batch of tiles keeps a device
busy for far longer than its launches take. Threads share the picture, the journal and the progress
bar, where processes would copy every tile twice.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING

from torch import Tensor

from camixersr.inference.cost import Bill
from camixersr.inference.survey import Plan
from camixersr.inference.tiles import Tile

if TYPE_CHECKING:
    from camixersr.inference.upscaler import Piece, Upscaler

__all__ = ["compute_tiles"]

Batch = tuple[int, ...]
"""Numbers of tiles of a plan, that are computed together."""

Done = tuple[Batch, "list[list[Piece]]"]
"""A batch, and for each of its tiles the pieces that own what it owns."""


def compute_tiles(
    crew: "Sequence[Upscaler]",
    plan: Plan,
    batches: Sequence[Batch],
    read: Callable[[Tile], Tensor],
    bill: Bill,
) -> Generator[Done]:
    """Compute batches of tiles on one device or several.

    Args:
        crew: one upscaler a device.
        plan: of the picture.
        batches: what is to be done, from `camixersr.inference.tiles.group`.
        read: gives what a tile computes, 1 x 3 x h x w; called in a thread of its own, one call at a
            time.
        bill: where it is counted.

    Yields:
        Each batch once, in the order in which they are done; on one device in the order given.

    Raises:
        MemoryLimitError: the memory does not suffice for the smallest tile.
    """

    def fetch(batch: Batch) -> list[Tensor]:
        return [read(plan.tiles[number]) for number in batch]

    def compute(upscaler: "Upscaler", batch: Batch, lows: list[Tensor]) -> Done:
        tiles = [plan.tiles[number] for number in batch]
        return batch, upscaler.compute_batch(plan, tiles, lows, bill)

    if len(batches) == 1:
        yield compute(crew[0], batches[0], fetch(batches[0]))
    elif len(crew) == 1:
        with ThreadPoolExecutor(1, "read") as reader:
            ahead = [reader.submit(fetch, batch) for batch in batches[:1]]
            for place, batch in enumerate(batches):
                lows = ahead.pop().result()
                ahead += [reader.submit(fetch, following) for following in batches[place + 1 : place + 2]]
                yield compute(crew[0], batch, lows)
    else:
        idle: SimpleQueue[Upscaler] = SimpleQueue()
        for each in crew:
            idle.put(each)

        def take(batch: Batch, lows: Future[list[Tensor]]) -> Done:
            upscaler = idle.get()
            try:
                return compute(upscaler, batch, lows.result())
            finally:
                idle.put(upscaler)

        left = iter(batches)
        running: set[Future[Done]] = set()
        with (
            ThreadPoolExecutor(1, "read") as reader,
            ThreadPoolExecutor(len(crew), "device") as devices,
        ):
            try:
                while True:
                    for batch in islice(left, len(crew) + 1 - len(running)):  # one is read ahead
                        running.add(devices.submit(take, batch, reader.submit(fetch, batch)))
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        yield each.result()
            except BaseException:
                bill.cancel()
                devices.shutdown(wait=False, cancel_futures=True)
                raise
