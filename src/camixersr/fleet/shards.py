"""One picture over all workers: its tiles are rows, and one writer assembles what they make.

This machine decodes the picture, surveys it where its tiles must know of each other, and encodes the
result: `camixersr.enlarge.disk`, as ever. Only the tiles go elsewhere, see `camixersr.fleet.tiles`. Pixels
never pass through Ray.
"""

import hashlib
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from camixersr.enlarge.spilled import High
from camixersr.errors import CancelledError, DownloadError, UsageError
from camixersr.fleet.cluster import Cluster, RemoteLedger
from camixersr.fleet.places import Place, Store
from camixersr.fleet.rows import SHARDS, Row, Task
from camixersr.fleet.scratch import LOCK, holding, sweep
from camixersr.fleet.secrets import one_line
from camixersr.fleet.tiles import TileOrders, Tiles
from camixersr.fleet.work import Orders, delivered, enlarged, make_scratch_root
from camixersr.image.files import printable, replacing
from camixersr.image.panorama import Panorama
from camixersr.image.raw import Raw
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Bill, Done
from camixersr.inference.plan import Plan
from camixersr.inference.schedule import Batch
from camixersr.inference.sources import Canvas, Source
from camixersr.runs.models import Models
from camixersr.runs.results import Event, Remark, Result
from camixersr.runs.work import Settings
from camixersr.weights import Model

__all__ = ["Shards", "Sharing", "clear"]

MADE = "made.json"
"""What tells, in the folder of a large picture, of a result that is whole, and not in its place yet."""

Spread = Callable[["Sharing", Plan, Sequence[Batch], Raw, Raw, Panorama | None], Iterator[list[Done]]]
"""Has batches of tiles computed elsewhere; gives what was done of each, once it is in the raw result."""


class Sharing(Computer):
    """A `Computer` that has the tiles of pictures on the disk computed elsewhere.

    Args:
        model: as for `Computer`; so are the others.
        spread: does that.
    """

    def __init__(self, model: Model, *, spread: Spread, **how: Any) -> None:
        super().__init__(model, **how)
        self._spread = spread

    def compute_tiles(
        self, plan: Plan, batches: Sequence[Batch], source: Source, canvas: Canvas, bill: Bill
    ) -> Generator[list[Done]]:
        """See `Computer.compute_tiles`."""
        spread = isinstance(canvas, High) and isinstance(canvas.low, Raw) and isinstance(canvas.high, Raw)
        if not spread or len(batches) < 2 or plan.pace is not None:
            yield from super().compute_tiles(plan, batches, source, canvas, bill)
            return
        assert isinstance(canvas, High)
        assert isinstance(canvas.low, Raw)
        assert isinstance(canvas.high, Raw)
        blocks = sum(self.model.config.blocks)
        for done in self._spread(self, plan, batches, canvas.low, canvas.high, source.panorama):
            for each in done:
                bill.tile(plan.tiles[each.number], each)
                bill.advance(plan.tiles[each.number].pixels * blocks)
            yield done


def clear(
    store: Store, root: Path, source: Place, results: Place, digest: str, kept: Sequence[Task]
) -> None:
    """Remove what was kept of large pictures that nobody goes on with: they changed, or the options did.

    Args:
        store: the place of results.
        root: of what is under way on this machine.
        source: the place of pictures.
        results: the place of results.
        digest: of this run.
        kept: pictures that may be gone on with.
    """
    prefix = _room_prefix(source, results)
    there = {each.key[len(SHARDS) :].partition("/")[0] for each in store.entries(SHARDS)}
    if (folder := store.local(SHARDS.rstrip("/"))) is not None and folder.is_dir():
        there |= {each.name for each in folder.iterdir()}  # hidden files alone, of a killed worker
    if there or any(root.glob(f"{prefix}*")):
        names = {_name(task, digest) for task in kept}
        for each in there - names:
            store.clear(f"{SHARDS}{each}/")
        sweep(root, prefix, keep={f"{prefix}{each}" for each in names})


def _name(task: Task, digest: str) -> str:
    """Of what is kept of a picture: another if it, or what is asked for, has changed."""
    return hashlib.sha256(
        f"{task.key}\0{task.version}\0{digest}".encode(errors="surrogateescape")
    ).hexdigest()[:24]


def _room_prefix(source: Place, results: Place) -> str:
    """Of folders of this machine for large pictures on the way from one place to another."""
    places = f"{source.url}\0{results.url}".encode(errors="surrogateescape")
    return f"large-{hashlib.sha256(places).hexdigest()[:8]}-"


def _made(room: Path) -> Result | None:
    """A result that a killed run made and did not put in its place; None if there is none."""
    try:
        known: dict[str, Any] = json.loads((room / MADE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    target = room / "out" / known["name"]
    if not target.is_file():
        return None
    return Result(target, target, "done", known["facts"], tuple(known["notes"]))


class Shards:
    """Pictures that all workers share, one after another.

    Args:
        orders: of the run.
        cluster: with the workers.
        ledger: of the run.
        store: the place of results.
        say: told, in a line each, what a person wants to know.
        source: the place of pictures, open; by default it is opened here.
    """

    def __init__(
        self,
        orders: Orders,
        cluster: Cluster,
        ledger: RemoteLedger,
        store: Store,
        say: Callable[[str], None],
        source: Store | None = None,
    ) -> None:
        self._orders, self._cluster, self._ledger, self._store = orders, cluster, ledger, store
        self._say = say
        self._source = orders.source.open() if source is None else source
        self._models = Models(
            orders.options,
            restoring=False,
            say=say,
            make=partial(Sharing, spread=self._spread),
        )
        self._prefix = ""

    def do(self, task: Task, *, check: Callable[[], bool]) -> bool:
        """Do a picture, as often as it takes; what was computed outlives a run that is killed.

        Args:
            task: the picture.
            check: asked often whether to stop.

        Returns:
            Whether it has a row; else it was stopped.

        Raises:
            OutputError: another run works on it, or there is no room for it.
        """
        orders = self._orders
        name = _name(task, orders.digest)
        self._prefix = f"{SHARDS}{name}/"
        root = make_scratch_root(orders.results, orders.scratch)
        room = root / f"{_room_prefix(orders.source, orders.results)}{name}"
        held = holding(room / LOCK, printable(task.key), patience=1.0)
        try:
            ended = self._do(task, room, check)
            if ended:
                shutil.rmtree(room, ignore_errors=True)
                self._store.clear(self._prefix)
        finally:
            os.close(held)
        return ended

    def _do(self, task: Task, room: Path, check: Callable[[], bool]) -> bool:
        def checked() -> None:
            if check():
                raise CancelledError("stopped, as was asked for; what was computed is kept")

        ended = False
        while (asked := self._ledger.begin(task)).go:
            began = time.perf_counter()
            row = Row(
                key=task.key,
                size=task.size,
                version=task.version,
                options=self._orders.digest,
                status="failed",
                worker="all",
                attempt=asked.attempt,
            )
            try:
                facts = self._one(task, room, checked)
                self._ledger.end(replace(row, **facts, seconds=round(time.perf_counter() - began, 3)))
                self._ledger.flush()  # before what was computed goes: a kill now costs nothing
                ended = True
            except CancelledError:
                self._ledger.release(task.key)
                return False
            except Exception as error:  # noqa: BLE001 - one bad picture never stops the rest
                line = one_line(error).replace(str(room), "scratch")
                if asked.last:
                    self._ledger.end(
                        replace(row, error=line, seconds=round(time.perf_counter() - began, 3))
                    )
                    ended = True
        return ended

    def _one(self, task: Task, room: Path, check: Callable[[], None]) -> dict[str, Any]:
        result = _made(room)
        if result is None:
            result = self._enlarged(task, room, check)
            known = {"name": result.target.name, "facts": dict(result.facts), "notes": result.notes}
            with replacing(room / MADE) as partial:
                partial.write_text(json.dumps(known), "utf-8")
        return delivered(self._store, task, result, self._orders.models, self._ledger)

    def _enlarged(self, task: Task, room: Path, check: Callable[[], None]) -> Result:
        source = self._source
        file = source.local(task.key) or room / "in" / PurePosixPath(task.key).name
        if source.local(task.key) is None and not (file.is_file() and file.stat().st_size == task.size):
            file.parent.mkdir(exist_ok=True)
            source.fetch(task.key, file)
            if (size := file.stat().st_size) != task.size:
                raise DownloadError(f"{task.key}: expected {task.size} bytes, got {size}; run again")
        settings = Settings(
            existing="resume or overwrite",
            keep_begun=True,
            folder=None,
            spill=room,
            max_pixels=self._orders.max_pixels,
        )
        name = printable(task.key)
        self._say(f"{name}: its tiles are shared by {self._cluster.workers} workers")

        def told(event: Event) -> None:
            if isinstance(event, Remark):
                self._say(f"{name}: {event.text}")

        def once() -> Result:
            result = enlarged(
                self._models,
                task,
                file,
                room,
                max_pixels=self._orders.max_pixels,
                settings=settings,
                check=check,
                emit=told,
            )
            assert result is not None
            return result

        try:
            return once()
        except UsageError:
            begun = list(room.glob(".*.camixersr*"))
            if not begun:
                raise
            for each in begun:  # by another torch, or on another device: it does not fit any more
                shutil.rmtree(each, ignore_errors=True)
            return once()

    def _spread(
        self,
        computer: Sharing,
        plan: Plan,
        batches: Sequence[Batch],
        low: Raw,
        high: Raw,
        panorama: Panorama | None,
    ) -> Iterator[list[Done]]:
        """Have tiles computed by all workers; see `Spread`."""
        key = f"{self._prefix}{low.path.name}"
        self._send(low.path, key)
        orders = TileOrders(
            place=self._orders.results,
            low=key,
            prefix=f"{self._prefix}{computer.model.name}-",
            low_layout=low.layout,
            high_layout=high.layout,
            model=computer.model,
            options=self._orders.options,
            plan=plan,
            panorama=panorama,
            threads=self._orders.threads,
        )
        rows = [{"batch": json.dumps(batch)} for batch in batches]
        with closing(self._cluster.mapped(rows, Tiles, (orders,))) as computed:
            for row in computed:
                blocks: list[tuple[str, int, int, int, int]] = json.loads(row["blocks"])
                for block, top, left, height, width in blocks:
                    pixels = np.frombuffer(self._store.read(block), high.layout.dtype)
                    high.write(top, left, pixels.reshape(height, width, high.layout.bands))
                high.sync()
                done: list[Done] = pickle.loads(row["done"])
                yield done
                self._store.remove([block for block, *_ in blocks])
        self._store.remove([key])

    def _send(self, path: Path, key: str) -> None:
        """Put the raw picture where workers find it; it stays here, too."""
        if self._store.local(key) is None:
            self._store.deliver(path, key)
            return
        twin = path.with_suffix(".twin")
        with suppress(FileNotFoundError):
            twin.unlink()
        try:
            os.link(path, twin)
        except OSError:  # a file system without links
            shutil.copyfile(path, twin)
        self._store.deliver(twin, key)
