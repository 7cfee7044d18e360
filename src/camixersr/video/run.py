"""A film from a file to another: looked through, cut, enlarged segment by segment, put together."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camixersr import __version__
from camixersr.backends.devices import threads
from camixersr.enlarge.enlarge import Cancel, beyond
from camixersr.enlarge.options import Options
from camixersr.errors import CancelledError, ImageError, OutputError, ValueRangeError
from camixersr.image.files import make_folder, require_writable, shown
from camixersr.runs.manifest import digest
from camixersr.runs.models import Models
from camixersr.video.encode import Encoding, encoding_for, not_said
from camixersr.video.film import Film, look
from camixersr.video.frames import Frames
from camixersr.video.remux import Part, copied, remux
from camixersr.video.segments import (
    Segment,
    WorkFolder,
    begun_with,
    cut,
    folder_for,
    picture_file,
    routes_folder,
)
from camixersr.video.settings import Settings
from camixersr.video.task import Facts, Task, compute
from camixersr.video.workers import share

__all__ = ["Done", "Settings", "enlarge_film"]


@dataclass(frozen=True)
class Done:
    """What came of a film.

    Attributes:
        source: the film.
        target: the result.
        size: height and width of its frames.
        frames: how many it has.
        first: number of the film's frame that is its first.
        repeated: those that repeat the one before, to the bit: they were not computed.
        reused: tiles that were those of the frame before: likewise.
        segments: in all.
        resumed: segments that an earlier run had done.
        attention_share: windows that were attended, on average over frames, in [0, 1].
        seconds: wall time of this run.
        encoding: how it is encoded.
        notes: what could not be kept, in words.
    """

    source: Path
    target: Path
    size: tuple[int, int]
    frames: int
    first: int
    repeated: int
    reused: int
    segments: int
    resumed: int
    attention_share: float
    seconds: float
    encoding: Encoding
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """As plain JSON values."""
        facts = asdict(self) | {"version": __version__}
        height, width = facts.pop("size")
        source, target = facts.pop("source"), facts.pop("target")
        return {"input": str(source), "output": str(target), "height": height, "width": width, **facts}


def enlarge_film(
    source: Path,
    target: Path,
    *,
    options: Options | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda line: None,
    begun: Callable[[int, int], None] = lambda frames, before: None,
    progress: Callable[[float], None] = lambda frames: None,
    cancel: Cancel = lambda: False,
    most: int | None = None,
) -> Done:
    """Enlarge a film.

    Args:
        source: the film.
        target: the film to make; its suffix names the container.
        options: how frames are enlarged: model, size, attention ratio, tile, backend ...
        settings: what else is done.
        say: told remarks, in a line each.
        begun: told how many frames there are to compute, and how many an earlier run has done.
        progress: told how many of them are done, the part of one under way included.
        cancel: asked often whether to stop; then finished segments stay, for a run that resumes.
        most: pixels of all frames of the result together; None for any.

    Returns:
        What was done.

    Raises:
        CancelledError: `cancel` said so.
        ImageError: no film, or a damaged one.
        OutputError: the target exists, or cannot be written.
        UsageError: options that do not fit the film, the codec or the container.
        ValueRangeError: more pixels than `most`.
    """
    options, settings = options or Options(restore="off"), settings or Settings()
    clock = time.perf_counter()

    def check() -> None:
        if cancel():
            raise CancelledError("cancelled, as was asked for; finished segments are kept")

    folder = folder_for(target, settings.work)
    _require_free(source, target, folder, settings)
    film = look(source, salvage=settings.salvage, check=check)
    notes = _remarks(film, settings)
    first, stop = _part(film, settings)
    models = Models(options, restoring=False, say=say)
    height, width = _size(models, film)
    before = begun_with(folder) if settings.resume else {}
    encoding = encoding_for(
        film,
        target,
        height,
        width if settings.preview is None else 2 * width,
        codec=settings.codec,
        crf=settings.crf,
        preset=settings.preset,
        pixel_format=settings.pixel_format,
        threads=before.get("encoding", {}).get("threads") or max(1, threads() // settings.workers),
    )
    if most is not None and (stop - first) * height * width > most:
        raise ValueRangeError(
            f"{shown(source)}: expected a result of at most {most / 1e9:g} gigapixels in all, got "
            f"{stop - first} frames of {width} x {height}; ask for a smaller one, or for a part of it"
        )
    copy, left_out = copied(film, target, settings.without)
    notes += left_out + not_said(film, encoding, target)
    if further := beyond((film.height, film.width), (height, width), max(models.scales)):
        notes.append(further)
    require_writable(target)
    segments = tuple(cut(film, first, stop, settings.segment))
    job = {
        "input": digest(source),
        "options": options.record(of_pixels=True),
        "models": models.digests(),
        "backend": models.reaching((film.height, film.width), (height, width)).backend.name,
        "settings": settings.record(),
        "encoding": asdict(encoding),
        "size": [height, width],
        "segments": [[each.first, each.stop] for each in segments],
        "version": __version__,
    }
    task = Task(film, options, settings, encoding, (height, width), folder, segments)
    work = WorkFolder(folder, job, resume=settings.resume, overwrite=settings.overwrite)
    whole = False
    try:
        for each in notes:
            say(each)
        todo = [each for each in segments if work.facts(each) is None]
        left = sum(each.frames for each in todo)
        begun(left, stop - first - left)
        several = settings.workers > 1 or len(models.devices) > 1
        made = (share if several else _one_by_one)(task, models, todo, progress=progress, check=check)
        for segment, facts in made:
            work.done(segment, facts.record())
        done = [Facts.of(work.facts(each)) for each in segments]
        frames = sum(len(each.times) for each in done)
        if not frames:
            raise ImageError(f"{shown(source)}: expected a film, but none of its frames can be decoded")
        _put_together(task, target, copy, done, check)
        whole = True
    finally:
        work.close(remove=whole or not any(work.facts(each) for each in segments))
    return Done(
        source,
        target,
        (height, width),
        frames,
        first,
        repeated=sum(each.repeated for each in done),
        reused=sum(each.reused for each in done),
        segments=len(segments),
        resumed=len(segments) - len(todo),
        attention_share=sum(each.share for each in done) / frames,
        seconds=time.perf_counter() - clock,
        encoding=encoding,
        notes=tuple(notes),
    )


def _require_free(source: Path, target: Path, folder: Path, settings: Settings) -> None:
    """Refuse to write over something."""
    if source.exists() and target.exists() and source.samefile(target):
        raise OutputError(f"{shown(target)}: is the input itself; name another file with -o")
    going_on = settings.resume and folder.is_dir()
    if settings.overwrite or going_on:
        return
    routes = settings.route_maps
    if routes is not None and routes.is_dir() and any(routes.iterdir()):
        raise OutputError(f"{shown(routes)}: expected an empty folder, or none; --overwrite writes into it")
    if target.exists():
        raise OutputError(f"{shown(target)}: exists; --overwrite replaces it")


def _remarks(film: Film, settings: Settings) -> list[str]:
    """What a person is told of a film before it is computed; and an interlaced one is refused.

    Raises:
        ImageError: it is interlaced, and nobody said what to do.
    """
    notes: list[str] = []
    if film.interlaced and settings.interlaced == "refuse":
        raise ImageError(
            f"{shown(film.path)}: expected whole frames, got an interlaced film; --interlaced deinterlace "
            "makes whole frames of its fields, --interlaced keep takes its frames as they are"
        )
    if film.interlaced and settings.interlaced == "deinterlace":
        notes.append("the film is interlaced: whole frames are made of its fields (bwdif)")
    if film.colours.assumed:
        name = "BT.709" if film.colours.matrix == 1 else "BT.601"
        notes.append(f"the film names no colour matrix; {name} is assumed, and named in the result")
    if film.transparent:
        notes.append("its transparency is left out")
    return [*notes, *film.dropped]


def _part(film: Film, settings: Settings) -> tuple[int, int]:
    """Numbers of the first frame, and after the last.

    Raises:
        ValueRangeError: there are none.
    """
    end = settings.end
    if settings.preview is not None:
        end = settings.start + settings.preview

    def number(seconds: float) -> int:
        """Of the first frame that begins so many seconds after the film, or later."""
        ticks = film.times[0] + float(seconds / film.time_base)
        return int(np.searchsorted(film.times, ticks - 0.5))

    first = number(settings.start)
    if first >= len(film.times):
        raise ValueRangeError(
            f"--start must lie within the film ({film.seconds:.2f} s), got {settings.start:g} s"
        )
    return first, len(film.times) if end is None else max(number(end), first + 1)


def _size(models: Models, film: Film) -> tuple[int, int]:
    """Height and width of the result; what a person says of them is of the film as it is shown."""
    if film.rotation in (90, 270):
        width, height = models.size(film.width, film.height)
        return height, width
    return models.size(film.height, film.width)


def _one_by_one(
    task: Task,
    models: Models,
    todo: Sequence[Segment],
    *,
    progress: Callable[[float], None],
    check: Callable[[], None],
) -> Iterator[tuple[Segment, Facts]]:
    """Compute segments in this process."""

    def cancelled() -> bool:
        check()  # says so by itself
        return False

    frames = Frames(models, task.film.height, task.film.width, task.size, cancelled)
    before = 0
    for segment in todo:

        def advanced(done: float, before: int = before) -> None:
            check()
            progress(before + done)

        yield segment, compute(task, frames, segment, advanced)
        before += segment.frames


def _put_together(
    task: Task, target: Path, copy: Sequence[int], done: Sequence[Facts], check: Callable[[], None]
) -> None:
    """Write the film, and its route maps."""
    film, routes = task.film, task.settings.route_maps
    parts = [
        Part(picture_file(task.folder, segment), facts.times)
        for segment, facts in zip(task.segments, done, strict=True)
        if facts.times
    ]
    first, stop = task.segments[0].first, task.segments[-1].stop
    ends = film.times[stop - 1] + film.last_of(stop - 1)
    remux(
        film,
        parts,
        target,
        copy=copy,
        aspect=task.aspect,
        begin=film.times[first] * film.time_base if first else None,
        end=ends * film.time_base if stop < len(film.times) else None,
        check=check,
    )
    if routes is None:
        return
    make_folder(routes)
    for segment in task.segments:
        for each in sorted(routes_folder(task.folder, segment).iterdir()):
            shutil.move(each, routes / each.name)
