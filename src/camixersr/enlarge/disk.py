"""Enlarge a file that need not fit into memory: strips in, tiles through, strips out.

The low picture is decoded once, in strips, into a raw file (which also finds out that it is whole
before hours are spent on it). Tiles are read from it, computed and written into a raw file of the
high picture, each by its owner alone; at the end that file is encoded. Reading ahead, computing and
writing run at the same time, and no pixel depends on their order.
"""

import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr import __version__
from camixersr.backends.devices import TORCH, set_threads, threads
from camixersr.enlarge.enlarge import Cancel, Steps, beyond
from camixersr.enlarge.forecast import LONG, PATCH, estimate
from camixersr.enlarge.options import Options
from camixersr.enlarge.spilled import High, Low, resize
from camixersr.errors import MemoryLimitError, OutputError
from camixersr.image.encode import check_writable
from camixersr.image.metadata import fitted
from camixersr.image.panorama import Panorama, panorama_of
from camixersr.image.picture import MAX_PIXELS
from camixersr.image.raw import Layout, Raw
from camixersr.image.spill import Spill, digest, folder_for
from camixersr.image.stream import HELD_WHOLE, Look, decode, encode, encoding_seconds, look
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Bill, Cost, Done, Progress
from camixersr.inference.deadline import best_ratio, measure_speed, missed
from camixersr.inference.pace import Speed
from camixersr.inference.plan import Plan
from camixersr.inference.sources import Source
from camixersr.inference.sphere import Spherical
from camixersr.inference.survey import patches
from camixersr.inference.tiles import owned
from camixersr.units import shown_bytes, shown_time

__all__ = ["Streamed", "enlarge_file"]

RESTORED = "restored.raw"
"""The picture, restored, in the folder of its job."""

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


def enlarge_file(
    computer: Computer,
    source: Path,
    target: Path,
    options: Options,
    *,
    size: tuple[int, int] | None = None,
    restorer: Computer | None = None,
    spill: Path | None = None,
    resume: bool = False,
    keep: bool = False,
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
        size: height and width of the result; the model's own by default. What the model makes is resized to
            it (bicubic, antialiased), strip by strip.
        restorer: of scale 1: restores the picture first, with the result of two steps that have a lossless
            file between them.
        spill: folder for the intermediate files, instead of the target's.
        resume: go on with what an interrupted run left, and leave it behind if interrupted.
        keep: leave it behind if stopped, for one that resumes.
        max_pixels: larger pictures are refused.
        say: told, before the network begins, what it needs; and the ratio that a deadline allows.
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
    steps = Steps(progress, cancel, runs=1 if restorer is None else 2)
    seen = look(source, color=options.colours, max_pixels=max_pixels, salvage=options.salvage)
    made = high = seen.layout.enlarged(computer.scale)
    further = ""
    if size is not None and size != (made.height, made.width):
        further = beyond((seen.layout.height, seen.layout.width), size, computer.scale)
        high = replace(made, height=size[0], width=size[1])
        made = replace(made, dtype="uint16")  # what is resized is not rounded to 8 bits before
    panorama, remark = panorama_of(seen.metadata, seen.layout.height, seen.layout.width, options.projection)
    check_writable(target, height=high.height, width=high.width)
    folder = folder_for(target, spill)
    bill = Bill(computer.model.config, computer.device, seen.layout.height, seen.layout.width, steps)
    job = _job(computer, source, options)
    if restorer is not None:
        job["restorer"] = restorer.model.sha256
    with _threads_kept(), Spill(folder, job, resume, keep=keep) as journal:
        fresh = not journal.settled
        resumed = sum(len(batch["tiles"]) for batch in journal.done)
        held = high.size if target.suffix.lower() in HELD_WHOLE else 0
        if fresh:
            tile = _tile(computer, seen.layout, held, options.memory_bytes, panorama)
            tiles = computer.cut(seen.layout.height, seen.layout.width, tile, panorama)
            # memory is granted for one tile at a time
            alone = options.memory_bytes is not None or options.seconds is not None
            batch = 1 if alone else computer.batch_of(tiles)
        else:  # the same again, so that the same bytes come out
            tile, batch = int(journal.settled["tile"]), int(journal.settled["batch"])
            set_threads(int(journal.settled["threads"]))
        needed = computer.memory.predict(seen.layout, tile, held, panorama, batch=batch)
        on_disk = [seen.layout.size, made.size, high.size if high != made else 0]
        if restorer is not None:
            before = _tile(restorer, seen.layout, 0, options.memory_bytes, panorama)
            needed = max(needed, restorer.memory.predict(seen.layout, before, 0, panorama))
            on_disk.append(seen.layout.size)
        if fresh:
            _require_room(folder, sum(on_disk) + (seen.layout.size if seen.turned else 0))
        said = (
            f"{seen.layout.width} x {seen.layout.height} -> {high.width} x {high.height}, "
            + (f"tiles of up to {tile} x {tile}, " if tile else "in one piece, ")
            + f"at most {shown_bytes(needed)} of memory, {shown_bytes(sum(on_disk))} on disk meanwhile"
        )
        there = f"; {resumed} tiles are there already" if resumed else ""
        kept = {int(line["tile"]) for batch in journal.done for line in batch["tiles"]}
        tiles = computer.cut(seen.layout.height, seen.layout.width, tile, panorama)
        todo = sum(each.pixels for number, each in enumerate(tiles) if number not in kept)
        long = todo >= LONG and options.seconds is None
        if not long:  # else it is told with the time, once the picture is decoded
            say(said + there)
        with (
            ExitStack() as last,
            Raw(folder / "low.raw", seen.layout, create=fresh) as low,
            Raw(folder / "high.raw", made, create=fresh) as out,
        ):
            damage: list[str] = []
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
            if long:
                patch, pixels = _middle(low, tile), seen.layout.height * seen.layout.width
                pace = estimate(computer, patch, target, options)
                seconds = pace.seconds(todo, high.height * high.width)
                if fresh and restorer is not None:
                    seconds += estimate(restorer, patch, target, options).seconds(pixels, 0)
                say(f"{said}; about {shown_time(seconds)}{there}")
            restoring = (0, 0)
            if restorer is not None:
                if fresh:
                    ways = {"resume": resume, "keep": keep}
                    restoring = _restore(restorer, low, panorama, folder, job, options, steps, ways)
                low = last.enter_context(Raw(folder / RESTORED, seen.layout))
                steps.begun = 1
            picture: Source = Low(low)
            if panorama is not None:
                picture = Spherical(picture, panorama, computer.model.config.latitude)
            ratio, pacing = computer.model.ratio(options.attention_ratio), None
            if options.seconds is not None:
                left = options.seconds - (time.perf_counter() - began)
                ratio, pacing = _pacing(left, computer, picture, tile, target, high, options, say)
            if fresh:
                journal.settle(
                    {
                        "tile": tile,
                        "batch": batch,
                        "threads": threads(),
                        "ratio": ratio,
                        "damage": damage,
                        "restoring": restoring,
                    }
                )
            ratio = float(journal.settled["ratio"])
            plan = computer.plan(
                picture,
                bill,
                attention_ratio=ratio,
                max_share=options.max_share,
                tile=tile,
                pacing=pacing,
                there=kept,
            )
            _run(computer, plan, computer.batches(plan, batch=batch), picture, low, out, journal, bill)
            if high != made:
                sized = last.enter_context(Raw(folder / "sized.raw", high, create=True))
                resize(out, sized, steps.check)
                out = sized
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
        cost, (macs, tiles_before) = bill.cost(), journal.settled["restoring"]
        cost = replace(cost, macs=cost.macs + macs, tiles=cost.tiles + tiles_before)
        late = missed(options.seconds, time.perf_counter() - began)
        notes = [*(each for each in (remark, further) if each), *journal.settled["damage"], *notes, *late]
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


def _restore(
    restorer: Computer,
    low: Raw,
    panorama: Panorama | None,
    folder: Path,
    job: Mapping[str, Any],
    options: Options,
    steps: Steps,
    ways: Mapping[str, bool],
) -> tuple[int, int]:
    """Restore a raw picture into another, with a journal of its own; multiply-adds and tiles."""
    layout = low.layout
    with Spill(folder / "restoring", job, ways["resume"], keep=ways["keep"]) as journal:
        fresh = not journal.settled
        if fresh:
            tile = _tile(restorer, layout, 0, options.memory_bytes, panorama)
            tiles = restorer.cut(layout.height, layout.width, tile, panorama)
            batch = restorer.batch_of(tiles) if options.memory_bytes is None else 1
            journal.settle({"tile": tile, "batch": batch, "threads": threads()})
        tile, batch = int(journal.settled["tile"]), int(journal.settled["batch"])
        set_threads(int(journal.settled["threads"]))
        with Raw(folder / RESTORED, layout, create=fresh) as out:
            picture: Source = Low(low)
            if panorama is not None:
                picture = Spherical(picture, panorama, restorer.model.config.latitude)
            bill = Bill(restorer.model.config, restorer.device, layout.height, layout.width, steps)
            # a deadline leaves what it can to the enlargement
            ratio = options.attention_ratio if options.seconds is None else 0.0
            plan = restorer.plan(
                picture, bill, attention_ratio=ratio, max_share=options.max_share, tile=tile
            )
            _run(restorer, plan, restorer.batches(plan, batch=batch), picture, low, out, journal, bill)
        cost = bill.cost()
        return cost.macs, cost.tiles


def _require_room(folder: Path, needed: int) -> None:
    """Refuse a job whose intermediate files cannot fit, before it begins."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # then the disk tells when it is full
    if needed > free:
        raise OutputError(
            f"{folder.parent}: expected {shown_bytes(needed)} free for intermediate files, got "
            f"{shown_bytes(free)}; make room, or name a folder on another disk with --spill"
        )


def _pacing(
    left: float,
    computer: Computer,
    low: Source,
    tile: int,
    target: Path,
    high: Layout,
    options: Options,
    say: Say,
) -> tuple[float, tuple[Speed, float]]:
    """The attention ratio that keeps the deadline as far as is known, and what corrects it on the way."""
    until = time.monotonic() + left
    speed, sample = measure_speed(computer, low)
    encoding = encoding_seconds(target, sample, options.write) * high.height * high.width
    until -= encoding
    left = until - time.monotonic()
    tiles = computer.cut(low.height, low.width, tile, low.panorama)
    # measured on one device; others share the tiles, but not the survey
    pixels = sum(each.pixels for each in tiles) // len(set(computer.devices))
    if len(tiles) > 1 and computer.is_surveying:
        pixels += sum((y.stop - y.start) * (x.stop - x.start) for y, x in patches(low.height, low.width))
    ratio, expected = best_ratio(speed, pixels=pixels, seconds=left, max_share=options.max_share)
    say(
        f"attention ratio {ratio:g} for the deadline, corrected on the way"
        if expected <= left
        else f"the deadline cannot be kept: attention ratio 0 takes about {expected + encoding:.0f} s more"
    )
    return ratio, (speed, until)


def _middle(low: Raw, tile: int) -> NDArray[np.float32]:
    """A patch to be timed, which needs no more memory than is granted."""
    side = min(tile or PATCH, PATCH)
    rows, columns = (
        slice(start, min(length, start + side))
        for length in (low.layout.height, low.layout.width)
        for start in (max(0, (length - side) // 2),)
    )
    return Low(low).read(rows, columns)[0]


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
    with closing(computer.compute_tiles(plan, todo, source, High(low, high), bill)) as computed:
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
