"""One picture's way through a run: decoded, computed and encoded, in memory or from disk to disk."""

import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from camixersr.enlarge.disk import enlarge_file
from camixersr.enlarge.enlarge import enlarge
from camixersr.enlarge.pages import deadline_of, enlarge_pages
from camixersr.errors import OutputError
from camixersr.image.decode import read
from camixersr.image.encode import check_writable, write, write_pages
from camixersr.image.files import make_folder, require_writable, shown
from camixersr.image.formats import WRITABLE, suffix_for
from camixersr.image.metadata import PNG_COLOUR
from camixersr.image.panorama import Panorama, panorama_of
from camixersr.image.part import Part, preview_of
from camixersr.image.picture import Picture
from camixersr.image.stream import Look
from camixersr.inference.computer import Computer
from camixersr.inference.deadline import missed
from camixersr.runs.comparison import write_comparison
from camixersr.runs.facts import facts_of, routes_of, write_route_map
from camixersr.runs.find import STREAM, require_regular
from camixersr.runs.heads import head_of_streamed, quality_and_remarks
from camixersr.runs.manifest import Manifest, digest
from camixersr.runs.models import Models
from camixersr.runs.results import Advanced, Began, Finished, Listener, Remark, Result
from camixersr.runs.targets import Job, require_inside, with_suffix
from camixersr.runs.work import Settings, Work, refuse_existing

__all__ = ["Pictures"]

logger = logging.getLogger(__name__)


class Pictures:
    """The three steps of each picture, for `camixersr.runs.pipeline`.

    Args:
        models: to choose from, with the options.
        settings: for all pictures.
        jobs: all of them.
        manifest: record to keep, or None.
        emit: told what happens.
        check: called often; what it raises ends the run.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        jobs: Sequence[Job],
        manifest: Manifest | None,
        *,
        emit: Listener,
        check: Callable[[], None],
    ) -> None:
        self.models, self.options, self.settings = models, models.options, settings
        self.manifest, self._emit, self._check = manifest, emit, check
        self._taken = {path for job in jobs for path in (job.target, job.source)}
        self._recording = threading.Lock()
        self._content = sys.stdin.buffer.read() if any(job.source == STREAM for job in jobs) else b""
        self._said: set[str] = set()  # what of a folder is said once
        self._record: dict[str, Any] = {}
        if manifest is not None:
            self._record = models.record()

    # decode -----------------------------------------------------------------------------------------

    def decode(self, job: Job) -> Work:
        """Read a picture, if it is to be done."""
        self._check()
        began = time.perf_counter()
        work = Work(job)
        with self._recorded(work):
            work.there = self._there(work)
            if work.there is not None:
                return work
            work.seen = head_of_streamed(job, self.models, self.settings)
            if work.seen is None:
                work.low = self._read(work, 0)
                work.pages = work.low.pages
                if self.options.preview:
                    work.whole = (work.low.height, work.low.width)
                    work.low, work.part = preview_of(work.low)
            head = work.low or work.seen
            if head is not None and head.kind == "jpeg":
                work.quality, remarks = quality_and_remarks(
                    self._content if job.source == STREAM else job.source, self.models
                )
                work.notes += remarks if self.models.restoring else self._once("quality", remarks)
            work.restored = self.options.restores(work.quality)
            if work.restored and work.quality is not None:
                what = (
                    f"a JPEG of quality {work.quality}, restored by {self.options.restorer} before it is "
                )
                work.notes += self._once("restored", [what + "enlarged; --restore off leaves it as it is"])
        if work.seen is None:
            work.seconds += time.perf_counter() - began
        logger.debug("%s: read in %.2f s", shown(job.source), time.perf_counter() - began)
        return work

    def _there(self, work: Work) -> dict[str, Any] | None:
        """The facts of a result that need not be made, none of them where nothing is recorded."""
        job = work.job
        if job.source != STREAM and job.target != STREAM:
            both = job.source.exists() and job.target.exists()
            if both and job.source.samefile(job.target):
                raise OutputError(f"{shown(job.target)}: is the input itself; name another file with -o")
        if job.source != STREAM:
            require_regular(job.source)
        if job.target == STREAM:
            return None
        if self.manifest is not None:
            work.sha256 = digest(job.source) if job.source != STREAM else ""
            if self.settings.resuming:
                done = self.manifest.done(
                    job.found.relative, work.sha256, self._record, route_map=job.route_map is not None
                )
                if done is not None:
                    assert self.settings.folder is not None
                    target = self.settings.folder / done["output"]
                    work.job = replace(job, target=target)
                    return {**done["facts"], "input": str(job.source), "output": str(target)}
        if self.settings.skipping and job.target.is_file():
            self._require_same_input(work, job.target)
            return {}
        return None

    def _require_same_input(self, work: Work, path: Path) -> None:
        """Refuse to replace, or to count as done, what was made from another picture.

        Raises:
            OutputError: it was.
        """
        if self.manifest is None or not path.is_file():
            return
        other = self.manifest.other_source(path, work.job.source, work.sha256)
        if other is not None:
            raise OutputError(
                f"{shown(path)}: was made from another picture, {shown(other)}; name another folder with -o"
            )

    def _read(self, work: Work, page: int) -> Picture:
        return read(
            self._content if work.job.source == STREAM else work.job.source,
            color=self.options.colours,
            max_pixels=self.settings.max_pixels,
            page=page,
            salvage=self.options.salvage,
        )

    # compute ----------------------------------------------------------------------------------------

    def compute(self, job: Job, work: Work) -> Work:
        """Enlarge a picture, its target checked and settled first."""
        self._check()
        if work.there is not None:
            return work
        began = time.perf_counter()
        work.began = time.monotonic() - work.seconds
        self._emit(Began(job.source, streamed=work.seen is not None))
        with self._recorded(work):
            if work.seen is not None:
                self._stream(work, work.seen)
            else:
                self._hold(work)
        work.seconds += time.perf_counter() - began
        return work

    def _hold(self, work: Work) -> None:
        """Enlarge a picture in memory."""
        assert work.low is not None
        self._choose(work, work.low)
        if work.pages > 1 and work.part is None and work.job.target.suffix.lower() in (".tif", ".tiff"):
            work.notes += write_pages(
                work.job.target, self._pages(work), self.options.write, count=work.pages
            )
            return
        if work.pages > 1:
            work.notes.append(f"only the first of {work.pages} pages is read")
            work.pages = 1
        assert work.computer is not None
        size = self._size(work, work.low.height, work.low.width)
        work.cost, work.high = enlarge(
            work.computer,
            work.low,
            size=size,
            attention_ratio=self.options.attention_ratio,
            max_share=self.options.max_share,
            alpha_by=self.options.alpha,
            progress=self._progress(work.job.source),
            cancel=self._cancelled,
            panorama=work.panorama,
            restorer=self.models.restorer if work.restored else None,
            until=self._until(work, work.low, size),
        )
        work.notes += work.high.notes

    def _until(self, work: Work, page: Picture, high: tuple[int, int], left: int = 1) -> float | None:
        """When the network must be done with a page, if there is a deadline."""
        target = work.job.target
        if target == STREAM:
            target = Path(f"x{self.options.suffix or '.png'}")
        return deadline_of(self.options, target, page, high, work.began, left)

    def _pages(self, work: Work) -> Generator[Picture, None, None]:
        """Enlarge page by page, so that only one is in memory."""
        assert work.low is not None

        def choose(low: Picture, panorama: Panorama | None) -> tuple[Computer, tuple[int, int]]:
            size = self.models.size(low.height, low.width)
            work.panorama = panorama
            work.computer = self.models.reaching((low.height, low.width), size, panorama=panorama)
            return work.computer, size

        pages = enlarge_pages(
            work.low,
            lambda number: self._read(work, number),
            self.options,
            count=work.pages,
            choose=choose,
            notes=work.notes,
            progress=self._progress(work.job.source),
            cancel=self._cancelled,
            restorer=self.models.restorer if work.restored else None,
            until=lambda low, high, left: self._until(work, low, high, left),
        )
        for number, (cost, high) in enumerate(pages):
            if number == 0:
                work.cost, work.high = cost, high
            yield high

    def _stream(self, work: Work, seen: Look) -> None:
        """Enlarge a large picture from disk to disk."""
        computer = self._choose(work, seen)
        source = work.job.source
        work.streamed = enlarge_file(
            computer,
            source,
            work.job.target,
            self.options,
            size=self._size(work, seen.layout.height, seen.layout.width),
            restorer=self.models.restorer if work.restored else None,
            spill=self.settings.spill,
            resume=self.settings.resuming,
            keep=self.settings.keep_begun,
            max_pixels=self.settings.max_pixels,
            say=lambda line: self._emit(Remark(line, source)),
            progress=self._progress(source),
            cancel=self._cancelled,
        )
        work.cost = work.streamed.cost
        work.notes += work.streamed.notes
        if seen.layout.alpha and self.options.alpha == "model":
            work.notes.append("its transparency was enlarged bicubically: too large for the model")

    def _choose(self, work: Work, head: Picture | Look) -> Computer:
        """Choose the model and the target, now that the picture is known, and claim the target."""
        layout = head if isinstance(head, Picture) else head.layout
        low = (layout.height, layout.width)
        high = self._size(work, layout.height, layout.width)
        projection = "flat" if work.part is not None else self.options.projection
        work.panorama, remark = panorama_of(head.metadata, *low, projection)
        if remark and isinstance(head, Picture):  # what is streamed notes it by itself
            work.notes.append(remark)
        work.computer = self.models.reaching(low, high, panorama=work.panorama)
        work.job = self._settled(work, head, high)
        self._claim(work, high)
        return work.computer

    def _size(self, work: Work, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result of a picture, or of the part that is previewed."""
        whole = work.whole or (height, width)
        part = Part(0, 0, height, width).scaled(whole, self.models.size(*whole))
        return part.height, part.width

    def _once(self, what: str, notes: list[str]) -> list[str]:
        """Notes that tell the same of every picture, for the first that has any."""
        if what in self._said or not notes:
            return []
        self._said.add(what)
        return notes

    def _progress(self, source: Path) -> Callable[[int, int], None]:
        return lambda done, total: self._emit(Advanced(source, done, total))

    def _cancelled(self) -> bool:
        self._check()  # says so by itself
        return False

    def _settled(self, work: Work, head: Picture | Look, high: tuple[int, int]) -> Job:
        """Choose the format now that the picture is known."""
        job = work.job
        if job.settled:
            return job
        suffix, why = suffix_for(
            head.kind,
            height=high[0],
            width=high[1],
            depth=head.depth,
            name_suffix=job.source.suffix,
            wide=PNG_COLOUR in head.metadata,
            alpha=head.alpha is not None if isinstance(head, Picture) else head.layout.alpha,
        )
        if why:
            work.notes += self._once(f"heic {suffix}", [why]) if head.kind == "heic" else [why]
        named = WRITABLE.get(job.source.suffix.lower())
        if named is not None and named.kind != head.kind and not why:
            work.notes.append(
                f"its name says {named.kind}, its content is {head.kind}; the result is {suffix}"
            )
        if job.target == STREAM or suffix == job.target.suffix:
            return job
        return with_suffix(job, suffix, self._taken)

    def _claim(self, work: Work, high: tuple[int, int]) -> None:
        """Make sure that the targets can be written, and may be."""
        job = work.job
        paths = [path for path in (job.target, job.route_map) if path is not None and path != STREAM]
        for path in paths:
            if self.settings.folder is not None and job.found.searched:
                require_inside(path, self.settings.folder if path == job.target else path.parent)
                make_folder(path.parent)
            ours = self.settings.resuming and self.manifest is not None and self.manifest.is_ours(path)
            self._require_same_input(work, path)
            if not self.settings.overwriting and not ours:
                refuse_existing(path)
            if self.manifest is not None and path == job.target:
                self.manifest.clear(path)
            size = high if path == job.target else (1, 1)
            check_writable(path, height=size[0], width=size[1])
        if self.settings.compare is not None:
            if not (self.settings.overwriting or self.settings.resuming):
                refuse_existing(self.settings.compare)
            require_writable(self.settings.compare)
        self._note(work, "begun")

    # encode -----------------------------------------------------------------------------------------

    def encode(self, job: Job, work: Work) -> Result:
        """Write a picture, and say what was done."""
        if work.there is not None:
            result = Result(job.source, work.job.target, "skipped", work.there)
        else:
            if work.streamed is None:  # else it is written, all but what tells of it
                self._check()
            result = self._write(work)
        self._emit(Finished(result))
        return result

    def _write(self, work: Work) -> Result:
        assert work.computer is not None
        began = time.perf_counter()
        job = work.job
        with self._recorded(work):
            if job.target == STREAM:
                self._write_to_stream(work)
            elif work.high is not None and work.pages == 1:
                work.notes += write(job.target, work.high, self.options.write)
            if job.route_map is not None:
                work.notes += write_route_map(job.route_map, work)
            if self.settings.compare is not None:
                content = self._content if job.source == STREAM else job.source
                work.notes += write_comparison(self.settings.compare, work, content, self.settings)
        taken = time.perf_counter() - began
        work.seconds += taken
        logger.debug("%s: written in %.2f s, %.2f s in all", shown(job.target), taken, work.seconds)
        if work.streamed is None:
            work.notes += missed(self.options.seconds, work.seconds)
        head = work.low or work.seen
        notes = tuple(dict.fromkeys((*(head.notes if head is not None else ()), *work.notes)))
        facts = facts_of(work, self.options)
        if self.manifest is not None:
            self._note(work, "done", bytes=job.target.stat().st_size, facts=facts)
        return Result(job.source, job.target, "done", facts, notes, routes=routes_of(work))

    def _write_to_stream(self, work: Work) -> None:
        low = work.low
        assert low is not None
        assert work.high is not None
        own, _ = suffix_for(
            low.kind,
            height=work.high.height,
            width=work.high.width,
            depth=low.depth,
            wide=PNG_COLOUR in low.metadata,
            alpha=low.alpha is not None,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"result{self.options.suffix or own}"
            work.notes += write(path, work.high, self.options.write)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    # record -----------------------------------------------------------------------------------------

    @contextmanager
    def _recorded(self, work: Work) -> Generator[None, None, None]:
        """Write an error into the manifest."""
        try:
            yield
        except Exception as error:
            self._note(work, "failed", error=" ".join(str(error).split()))
            raise

    def _note(self, work: Work, result: str, **facts: Any) -> None:
        if self.manifest is None:
            return
        job = work.job
        with self._recording:
            self.manifest.note(
                job.source,
                job.found.relative,
                job.target,
                result=result,
                route_map=job.route_map,
                sha256=work.sha256,
                options=self._record,
                **facts,
            )
