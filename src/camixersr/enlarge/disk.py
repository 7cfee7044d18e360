"""Enlarge a file that need not fit into memory: strips in, tiles through, strips out.

The low picture is decoded once, in strips, into a raw file (which also finds out that it is whole
before hours are spent on it). Tiles are read from it, computed and written into a raw file of the
high picture, each by its owner alone; at the end that file is encoded. Reading ahead, computing and
writing run at the same time, and no pixel depends on their order.
"""

import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr import __version__
from camixersr.backends.devices import TORCH, set_threads, threads
from camixersr.backends.protocol import Planes
from camixersr.enlarge.enlarge import Cancel, Steps
from camixersr.enlarge.options import Options
from camixersr.errors import MemoryLimitError, OutputError
from camixersr.image.alpha import HALO, bleed, visible
from camixersr.image.encode import check_writable
from camixersr.image.metadata import fitted
from camixersr.image.panorama import Panorama, panorama_of
from camixersr.image.picture import MAX_PIXELS
from camixersr.image.planes import Form, enlarge_alpha, join, split
from camixersr.image.raw import Layout, Raw
from camixersr.image.spill import Spill, digest, folder_for
from camixersr.image.stream import HELD_WHOLE, Look, decode, encode, encoding_seconds, look
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Bill, Cost, Done, Progress
from camixersr.inference.deadline import best_ratio, measure_speed
from camixersr.inference.plan import Plan
from camixersr.inference.sources import Piece, Source
from camixersr.inference.sphere import Spherical
from camixersr.inference.survey import patches
from camixersr.inference.tiles import Tile, owned
from camixersr.units import shown_bytes

__all__ = ["Streamed", "enlarge_file"]

CONTEXT = 4
"""Low pixels that bicubic enlargement looks at beside a place; it needs two."""

Say = Callable[[str], None]
"""Told, in one line, what a person wants to know before a long job."""


@dataclass(frozen=True)
class Streamed:
    """What came of it.

    Attributes:
        cost: what it cost.
        look: of the low picture.
        layout: of the high one.
        attention_ratio: that was used.
        tile: side of a tile, in low pixels.
        predicted_memory_bytes: highest memory that was predicted.
        resumed: tiles that an earlier run had computed.
        notes: what the format could not hold, in words.
        panorama: what the picture shows of a sphere; None for a flat one.
    """

    cost: Cost
    look: Look
    layout: Layout
    attention_ratio: float
    tile: int
    predicted_memory_bytes: int
    resumed: int
    notes: tuple[str, ...]
    panorama: Panorama | None


@dataclass(frozen=True)
class _Low:
    """A `Source` that reads from a raw file."""

    raw: Raw
    panorama: None = None

    @property
    def form(self) -> Form:
        return _form(self.raw.layout)

    @cached_property
    def far(self) -> NDArray[np.float64] | None:
        """The mean of what is visible in the whole picture, as for `bleed`; None if nothing is."""
        total, count = np.zeros(self.raw.layout.bands - 1), 0
        for top in range(0, self.height, HALO):
            rows = slice(top, min(top + HALO, self.height))
            pixels, alpha = split(self.raw.read(rows, slice(0, self.width)))
            assert alpha is not None
            part, number = visible(pixels, alpha)
            total, count = total + part, count + number
        return total / count if count else None

    @property
    def height(self) -> int:
        return self.raw.layout.height

    @property
    def width(self) -> int:
        return self.raw.layout.width

    def read(self, rows: slice, columns: slice) -> Planes:
        if not self.raw.layout.alpha:
            return self.form.planes(self.raw.read(rows, columns))[None]
        # what is invisible takes the colour of what is visible nearby, as in a picture in one piece
        top, left = (max(0, each.start // HALO * HALO - HALO) for each in (rows, columns))
        bottom = min(self.height, -(-rows.stop // HALO) * HALO + HALO)
        right = min(self.width, -(-columns.stop // HALO) * HALO + HALO)
        pixels, alpha = split(self.raw.read(slice(top, bottom), slice(left, right)))
        colour = pixels if alpha is None else bleed(pixels, alpha, self.far)
        part = colour[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        return self.form.planes(part)[None]


def _form(layout: Layout) -> Form:
    return Form(np.dtype(layout.dtype), grey=layout.bands < 3)


def enlarge_file(
    computer: Computer,
    source: Path,
    target: Path,
    options: Options,
    *,
    spill: Path | None = None,
    resume: bool = False,
    max_pixels: int = MAX_PIXELS,
    say: Say = lambda line: None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Streamed:
    """Enlarge a picture of any size.

    Args:
        computer: the model; of its `tile`, "auto" is chosen here.
        source: the picture.
        target: the file to make or replace.
        options: how; what the computer was made with is not looked at, nor is the size.
        spill: folder for the intermediate files, instead of the target's.
        resume: go on with what an interrupted run left, and leave it behind if interrupted.
        max_pixels: larger pictures are refused.
        say: told, before the work begins, what it needs; and the ratio that a deadline allows.
        progress: told how far the network is, then the encoder.
        cancel: asked, several times a tile, whether to stop.

    Returns:
        What it cost, and what was done.

    Raises:
        CancelledError: `cancel` said so.
        ImageError: the picture is damaged or truncated.
        OutputError: the target or the intermediate files cannot be written.
        MemoryLimitError: the memory granted, or what there is, does not suffice.
        UsageError: what there is to resume is another job.
    """
    began = time.perf_counter()
    steps = Steps(progress, cancel)
    seen = look(source, color=options.colours, max_pixels=max_pixels, salvage=options.salvage)
    high = seen.layout.enlarged(computer.scale)
    panorama, remark = panorama_of(seen.metadata, seen.layout.height, seen.layout.width, options.projection)
    check_writable(target, height=high.height, width=high.width)
    folder = folder_for(target, spill)
    bill = Bill(computer.model.config, computer.device, seen.layout.height, seen.layout.width, steps)
    with _threads_kept(), Spill(folder, _job(computer, source, options), resume) as journal:
        fresh = not journal.settled
        resumed = sum(len(batch["tiles"]) for batch in journal.done)
        held = high.size if target.suffix.lower() in HELD_WHOLE else 0
        if fresh:
            tile = _tile(computer, seen.layout, held, options.memory_bytes, panorama)
            tiles = computer.cut(seen.layout.height, seen.layout.width, tile, panorama)
            # memory is granted for one tile at a time
            batch = computer.batch_of(tiles) if options.memory_bytes is None else 1
            _require_room(folder, seen, high)
        else:  # the same again, so that the same bytes come out
            tile, batch = int(journal.settled["tile"]), int(journal.settled["batch"])
            set_threads(int(journal.settled["threads"]))
        needed = computer.memory.predict(seen.layout, tile, held, panorama, batch=batch)
        disk = seen.layout.size + high.size
        say(
            f"{seen.layout.width} x {seen.layout.height} -> {high.width} x {high.height}, "
            + (f"tiles of up to {tile} x {tile}, " if tile else "in one piece, ")
            + f"at most {shown_bytes(needed)} of memory, {shown_bytes(disk)} on disk meanwhile"
            + (f"; {resumed} tiles are there already" if resumed else "")
        )
        with (
            Raw(folder / "low.raw", seen.layout, create=fresh) as low,
            Raw(folder / "high.raw", high, create=fresh) as out,
        ):
            picture: Source = _Low(low)
            if panorama is not None:
                picture = Spherical(picture, panorama, computer.model.config.latitude)
            if fresh:
                damage = decode(
                    source,
                    low,
                    lambda done, total: steps.check(),
                    color=options.colours,
                    max_pixels=max_pixels,
                    salvage=options.salvage,
                )
                low.sync()
                ratio = options.attention_ratio
                if options.seconds is not None:
                    left = options.seconds - (time.perf_counter() - began)
                    ratio = _ratio_in(left, computer, picture, tile, target, high, options, say)
                journal.settle(
                    {
                        "tile": tile,
                        "batch": batch,
                        "threads": threads(),
                        "ratio": ratio,
                        "damage": damage,
                    }
                )
            ratio = float(journal.settled["ratio"])
            plan = computer.plan(
                picture, bill, attention_ratio=ratio, max_share=options.max_share, tile=tile
            )
            _run(computer, plan, computer.batches(plan, batch=batch), picture, low, out, journal, bill)
            notes = encode(
                out,
                target,
                fitted(
                    seen.metadata,
                    low=(seen.layout.height, seen.layout.width),
                    high=(high.height, high.width),
                ),
                progress or (lambda done, total: None),
                options=options.write,
                check=steps.check,
                lossless=seen.lossless,
            )
        cost = bill.cost()
        notes = [*([remark] if remark else []), *journal.settled["damage"], *notes]
        return Streamed(cost, seen, high, ratio, tile, needed, resumed, tuple(notes), panorama)


def _job(computer: Computer, source: Path, options: Options) -> dict[str, Any]:
    """All that the result depends on, and that the user chose."""
    asked = options.record(of_pixels=True)
    if options.seconds is not None:
        asked["attention_ratio"] = None  # it is not looked at
    return asked | {
        "version": __version__,
        "torch": TORCH,
        "source": digest(source),
        "model": computer.model.sha256 or computer.model.name,
        "device": ",".join(computer.devices),
        "backend": computer.backend.name,
        "precision": computer.precision,
        "tile": computer.tile,
        "batch": computer.batch,
        "routing": "top share" if computer.model.calibration is None else "thresholds",
    }


def _tile(
    computer: Computer, layout: Layout, held: int, memory: int | None, panorama: Panorama | None
) -> int:
    """The tile that was asked for, or the largest that the memory granted allows."""
    asked = computer.tile
    tile = asked if asked != "auto" else computer.auto(layout.height, layout.width)
    if memory is None or computer.memory.predict(layout, tile, held, panorama) <= memory:
        return tile
    largest = computer.memory.largest_tile(layout, memory, held, panorama)  # complains if there is none
    if computer.tile != "auto":
        needed = shown_bytes(computer.memory.predict(layout, tile, held, panorama))
        raise MemoryLimitError(
            f"a tile of {tile or 'the whole picture'} needs {needed}, more than the {shown_bytes(memory)} "
            f"granted; use --tile {largest}"
        )
    return largest


def _require_room(folder: Path, seen: Look, high: Layout) -> None:
    """Refuse a job whose intermediate files cannot fit, before it begins."""
    needed = seen.layout.size * (2 if seen.turned else 1) + high.size
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # then the disk tells when it is full
    if needed > free:
        raise OutputError(
            f"{folder.parent}: {shown_bytes(needed)} are needed there meanwhile, {shown_bytes(free)} are "
            "free; make room, or name a folder on another disk with --spill"
        )


def _ratio_in(
    left: float,
    computer: Computer,
    low: Source,
    tile: int,
    target: Path,
    high: Layout,
    options: Options,
    say: Say,
) -> float:
    """The attention ratio that keeps the deadline."""
    began = time.perf_counter()
    speed = measure_speed(computer, low)
    encoding = encoding_seconds(target, speed.sample, options.write) * high.height * high.width
    left -= time.perf_counter() - began + encoding
    tiles = computer.cut(low.height, low.width, tile, low.panorama)
    # measured on one device; others share the tiles, but not the survey
    pixels = sum(each.pixels for each in tiles) // len(set(computer.devices))
    if len(tiles) > 1 and computer.is_surveying:
        pixels += sum((y.stop - y.start) * (x.stop - x.start) for y, x in patches(low.height, low.width))
    ratio, expected = best_ratio(speed, pixels=pixels, seconds=left, max_share=options.max_share)
    say(
        f"attention ratio {ratio:g} for the deadline"
        if expected <= left
        else f"the deadline cannot be kept: attention ratio 0 takes about {expected + encoding:.0f} s more"
    )
    return ratio


@contextmanager
def _threads_kept() -> Generator[None]:
    before = threads()
    try:
        yield
    finally:
        set_threads(before)


def _run(
    computer: Computer,
    plan: Plan,
    batches: list[tuple[int, ...]],
    source: Source,
    low: Raw,
    high: Raw,
    spill: Spill,
    bill: Bill,
) -> None:
    """Compute the tiles that are missing; read ahead and write behind."""
    there: set[int] = set()
    for line in (line for batch in spill.done for line in batch["tiles"]):
        number = int(line["tile"])
        rows, columns = owned(plan.tiles[number], plan.window)
        attended = np.array(line["attended"]).reshape(rows.stop - rows.start, columns.stop - columns.start)
        facts = (int(line[name]) for name in ("windows", "computed", "pieces"))
        bill.skip(plan.tiles[number], Done(number, attended, str(line["precision"]), *facts))
        there.add(number)
    todo = [batch for batch in batches if not there.issuperset(batch)]
    with closing(computer.compute_tiles(plan, todo, source, _OnDisk(low, high), bill)) as computed:
        for batch in computed:
            lines = [
                {
                    "tile": done.number,
                    "attended": done.attended.ravel().tolist(),
                    "windows": done.windows,
                    "computed": done.computed,
                    "pieces": done.pieces,
                    "precision": done.precision,
                }
                for done in batch
            ]
            spill.record({"tiles": lines})  # one line for the batch: it is whole, or to be done


@dataclass(frozen=True)
class _OnDisk:
    """A `Canvas` that is a raw file, with the transparency of another."""

    low: Raw
    high: Raw

    def put(self, tile: Tile, pieces: Sequence[Piece]) -> None:
        scale = self.high.layout.height // self.low.layout.height
        form = _form(self.low.layout)
        for piece in pieces:
            y, x = piece.tile.rows, piece.tile.columns
            pixels = form.pixels(piece.high)
            alpha = _alpha(piece.tile, self.low, scale, form) if self.low.layout.alpha else None
            self.high.write(scale * y.own_start, scale * x.own_start, join(pixels, alpha))

    def settle(self) -> None:
        self.high.sync()

    def close(self) -> None:
        self.low.close()
        self.high.close()


def _alpha(tile: Tile, low: Raw, scale: int, form: Form) -> NDArray[Any]:
    """The transparency of what a tile owns, enlarged bicubically: h x w, as stored."""
    spans = []
    for span, length in ((tile.rows, low.layout.height), (tile.columns, low.layout.width)):
        spans.append((max(0, span.own_start - CONTEXT), min(length, span.own_stop + CONTEXT), span))
    (top, bottom, y), (left, right, x) = spans
    part = form.alpha_plane(low.read(slice(top, bottom), slice(left, right))[:, :, -1])
    down, across = scale * (y.own_start - top), scale * (x.own_start - left)
    grown = enlarge_alpha(part, scale)
    return form.alpha(grown[down : down + scale * y.owned, across : across + scale * x.owned])
