"""One picture, several hands: batches of tiles are read ahead, computed and written behind.

On one device this process does it all; of several, each has a process of its own (`hands`), which takes
the next batch when it has done its last one, reads it and writes its result where the picture lies: in
memory or files that all of them share. Every pixel has one owner and a batch is the same whoever
computes it, so that neither who nor when shows in the result.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from camixersr.inference.cost import Bill, Done, Reporting, peak_memory, reset_peak_memory
from camixersr.inference.hands import Ask, Hands, told
from camixersr.inference.plan import Plan, Source
from camixersr.inference.tiles import Tile, owned
from camixersr.nn.routing import Policy
from camixersr.weights import Model

if TYPE_CHECKING:
    from camixersr.inference.engine import Engine
    from camixersr.inference.upscaler import Piece, Upscaler

__all__ = ["Canvas", "Crew", "compute_tiles"]

Batch = tuple[int, ...]
"""Numbers of tiles of a plan, that are computed together."""

Watch = Callable[[Policy, int], Policy]
"""Makes a policy tell how far the computation of so many low pixels is."""


class Canvas(Protocol):
    """Where results go. Copies of it in other processes, made by pickling, go to the same place."""

    def put(self, tile: Tile, pieces: "Sequence[Piece]") -> None:
        """Keep what a tile owns, of which pieces own a part each; in a thread, one call at a time."""
        ...

    def settle(self) -> None:
        """Return when what was put is where it will outlast this process."""
        ...

    def close(self) -> None:
        """Called of a copy, when there is nothing more for it."""
        ...


def compute_tiles(
    upscaler: "Upscaler", plan: Plan, batches: Sequence[Batch], source: Source, canvas: Canvas, bill: Bill
) -> Generator[list[Done]]:
    """Compute batches of tiles, on all devices of an upscaler.

    Args:
        upscaler: the model, and the devices.
        plan: of the picture.
        batches: what is to be done, from `camixersr.inference.tiles.group`.
        source: the picture, which is read in a thread, one call at a time; several devices each get a
            copy of it, made by pickling.
        canvas: where results go; likewise.
        bill: where it is counted.

    Yields:
        Of each batch what was done, once it is kept; on one device in the order given.

    Raises:
        MemoryLimitError: the memory does not suffice for the smallest tile.
        DeviceError: the process of a device has ended.
    """
    if len(batches) == 1 or len(upscaler.devices) == 1:
        done = _compute(upscaler, plan, iter(batches), source, canvas, bill.watch)
    else:
        done = upscaler.crew().share(plan, batches, source, canvas, bill)
    with closing(done):
        for batch in done:
            for each in batch:
                bill.tile(plan.tiles[each.number], each)
            yield batch


def _compute(
    upscaler: "Upscaler", plan: Plan, batches: Iterator[Batch], source: Source, canvas: Canvas, watch: Watch
) -> Generator[list[Done]]:
    """Compute batches in this thread, while the next is read and the last is written in others."""

    def fetch() -> tuple[Batch, list[torch.Tensor]] | None:
        batch = next(batches, None)
        if batch is None:
            return None
        return batch, [source.read(*plan.tiles[number].computed) for number in batch]

    def keep(batch: Batch, of_tiles: "list[list[Piece]]") -> list[Done]:
        for number, pieces in zip(batch, of_tiles, strict=True):
            canvas.put(plan.tiles[number], pieces)
        canvas.settle()
        return [_sum_up(number, plan, pieces) for number, pieces in zip(batch, of_tiles, strict=True)]

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        writing: Future[list[Done]] | None = None
        ahead = reader.submit(fetch)
        while (read := ahead.result()) is not None:
            batch, lows = read
            ahead = reader.submit(fetch)
            of_tiles = upscaler.compute_batch(plan, [plan.tiles[number] for number in batch], lows, watch)
            if writing is not None:
                yield writing.result()
            writing = writer.submit(keep, batch, of_tiles)
            del of_tiles, lows, read
        if writing is not None:
            yield writing.result()


def _sum_up(number: int, plan: Plan, pieces: "Sequence[Piece]") -> Done:
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


class Crew:
    """A process for each device, started when they are first wanted.

    Args:
        model: each gets a copy of it.
        devices: as many as processes.
        engine: makes what computes there, if not torch.
        precision: as for `camixersr.inference.upscaler.Upscaler`.
    """

    def __init__(
        self,
        model: Model,
        devices: Sequence[torch.device],
        engine: "Callable[[Model, torch.device], Engine | None] | None",
        precision: str,
    ) -> None:
        self._model, self._engine, self._precision = model, engine, precision
        self._names = [str(each) for each in devices]
        self._hands: Hands | None = None

    def start(self) -> Hands:
        """The processes; they load what they need while the caller goes on."""
        if self._hands is None:
            given = [(self._model, self._engine, name, self._precision) for name in self._names]
            self._hands = Hands(_work, given, self._names)
        return self._hands

    def close(self) -> None:
        """End the processes."""
        if self._hands is not None:
            self._hands.close()
            self._hands = None

    def share(
        self, plan: Plan, batches: Sequence[Batch], source: Source, canvas: Canvas, bill: Bill
    ) -> Generator[list[Done]]:
        """`compute_tiles`, on all devices."""
        hands = self.start()
        task = plan, source, canvas
        left, begun = deque(batches), set(hands.idle)
        for number in begun:
            hands.answer(number, task)
        try:
            while len(begun) < len(hands) or len(hands.idle) < len(hands):
                number, what, given = hands.asked()
                if what == "task" and number not in begun:
                    begun.add(number)
                    hands.answer(number, task)
                elif what == "batch":
                    hands.answer(number, left.popleft() if left else None)
                elif what == "step":
                    bill.advance(*given)
                    hands.answer(number)
                elif what == "done":
                    hands.answer(number)
                    done, peak = given
                    bill.elsewhere(number, peak)
                    yield done
                elif what == "failed":
                    hands.answer(number)
                    raise given[0]
        finally:
            hands.rest()
            if not len(hands):
                self._hands = None


def _work(
    ask: Ask,
    model: Model,
    engine: "Callable[[Model, torch.device], Engine | None] | None",
    device: str,
    precision: str,
) -> None:
    """What a hand does: pictures, one after another, and of each the batches that nobody else does."""
    from camixersr.inference.upscaler import Upscaler

    upscaler = Upscaler(model, device=device, precision=precision)
    upscaler.engine = engine and engine(upscaler.model, upscaler.device)
    while True:
        plan, source, canvas = ask("task")
        try:
            reset_peak_memory(upscaler.device)

            def watch(policy: Policy, pixels: int) -> Policy:
                return Reporting(policy, lambda: ask("step", pixels))

            batches = iter(lambda: ask("batch"), None)
            for done in _compute(upscaler, plan, batches, source, canvas, watch):
                ask("done", done, peak_memory(upscaler.device))
        except KeyboardInterrupt:  # of this picture; of all, if "task" is answered so
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            ask("failed", told(error))
        finally:
            canvas.close()
            del plan, source, canvas
