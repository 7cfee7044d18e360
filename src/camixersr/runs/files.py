"""Files in, larger files out: the way to enlarge or restore many pictures, for whoever asks."""

import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from camixersr.enlarge.options import Options
from camixersr.errors import CamixerError, CancelledError, InputError, UsageError, ValueRangeError
from camixersr.image.files import make_folder, shown
from camixersr.image.formats import WRITABLE, format_of
from camixersr.image.picture import MAX_PIXELS
from camixersr.image.size import Size
from camixersr.runs.find import STREAM, find
from camixersr.runs.forecast import forecast
from camixersr.runs.manifest import MANIFEST, Manifest
from camixersr.runs.models import Kept, Models
from camixersr.runs.picture import Pictures
from camixersr.runs.pipeline import pipeline
from camixersr.runs.results import Event, Finished, Listener, Measuring, Remark, Result
from camixersr.runs.targets import (
    Job,
    default_folder,
    is_folder,
    jobs_for,
    require_apart,
    without_results,
)
from camixersr.runs.work import Existing, Settings
from camixersr.runs.workers import share

__all__ = ["Run", "restore_files", "upscale_files"]

Place = str | os.PathLike[str]


class Flag(Protocol):
    """A `threading.Event`, or what is like one."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


Cancel = Flag | Callable[[], bool]
"""Asked whether to stop: a `threading.Event`, or a function."""


def upscale_files(
    inputs: Place | Sequence[Place],
    output: Place | None = None,
    *,
    options: Options | None = None,
    existing: Existing = "refuse",
    route_map: Place | None = None,
    compare: Place | None = None,
    spill: Place | None = None,
    keep_begun: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_progress: Listener | None = None,
    cancel: Cancel | None = None,
    kept: Kept | None = None,
) -> "Run":
    """Enlarge pictures, file by file, as `camixersr upscale` does.

    Everything that can be refused beforehand is refused by this call; the work is done while the result
    is iterated. The next picture is decoded and the last one written while one is computed. A picture
    that fails stops nothing: its result has the error. A run over a folder keeps a record there
    (`camixersr.jsonl`), with which another run goes on.

    Args:
        inputs: files, folders with all below them, and patterns such as photos/**/*.jpg.
        output: the file to make, for one input; a folder, which is made; by default NAME_x4 beside each
            file, and FOLDER_x4 beside a folder. A name that ends in / is a folder.
        options: how to enlarge and to write; see `Options`.
        existing: what to do about results that exist: "refuse" them, as errors of their pictures;
            "overwrite"; "skip"; or "resume": leave out what the record says is done with the same
            options, and go on with what was begun, also as "resume or overwrite" and "resume or skip",
            which say what becomes of the rest. What was made from another picture of the same name is
            never replaced.
        route_map: also write a picture of where attention went: a file, or a folder for several inputs.
        compare: also write a page, one HTML file, to compare the result with the picture; for one input.
        spill: folder for the intermediate files of large pictures; by default beside the result.
        keep_begun: when cancelled, leave what was computed of a large picture, for a run that resumes.
        max_pixels: larger inputs are refused before they are decoded.
        on_progress: told what happens, see `camixersr.runs.results.Event`: a picture began, has
            advanced, is finished; a remark. Called in several threads, one call at a time.
        cancel: asked at every tile, and oftener, whether to stop: a `threading.Event`, or a function.
        kept: an empty dict, given again to later calls: models are loaded once for all of them.

    Returns:
        An iterator over a `Result` for each picture, in the order of the inputs; on several devices as
        they come.

    Raises:
        CancelledError: `cancel` said so; no result is left half-written. Raised by the iterator.
        UsageError: options, inputs and places that do not go together.
        ImageError: a folder or pattern without pictures.
        CamixerError: a model or device that is not there; see `camixersr.errors`.
    """
    return Run(
        inputs,
        output,
        options or Options(),
        restoring=False,
        existing=existing,
        route_map=route_map,
        compare=compare,
        spill=spill,
        keep_begun=keep_begun,
        max_pixels=max_pixels,
        on_progress=on_progress,
        cancel=cancel,
        kept=kept,
    )


def restore_files(
    inputs: Place | Sequence[Place],
    output: Place | None = None,
    *,
    options: Options | None = None,
    existing: Existing = "refuse",
    route_map: Place | None = None,
    compare: Place | None = None,
    spill: Place | None = None,
    keep_begun: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_progress: Listener | None = None,
    cancel: Cancel | None = None,
    kept: Kept | None = None,
) -> "Run":
    """Undo what JPEG compression, or noise, did to pictures, file by file, as `camixersr restore` does.

    Everything is as for `upscale_files`, but for the model: "s-jpeg" by default; sizes stay as they are.

    Raises:
        UsageError: a size was asked for; and as for `upscale_files`.
    """
    options = options or Options()
    if options.size != Size():
        raise UsageError("pictures are restored at their own size; leave the size out")
    return Run(
        inputs,
        output,
        replace(
            options,
            model=options.model or "s-jpeg",
            name=options.name or ("{stem}_restored_preview" if options.preview else "{stem}_restored"),
            restore="off",  # there is but one step
            alpha="bicubic",  # at scale 1: as it is
            projection="flat",
        ),
        restoring=True,
        existing=existing,
        route_map=route_map,
        compare=compare,
        spill=spill,
        keep_begun=keep_begun,
        max_pixels=max_pixels,
        on_progress=on_progress,
        cancel=cancel,
        kept=kept,
    )


class Run(Iterator[Result]):
    """Pictures under way, from `upscale_files` or `restore_files`: an iterator over their results.

    Attributes:
        jobs: the pictures, and where results go.
        many: there are several, or a folder or pattern was searched.
    """

    def __init__(
        self,
        inputs: Place | Sequence[Place],
        output: Place | None,
        options: Options,
        *,
        restoring: bool,
        existing: Existing,
        route_map: Place | None,
        compare: Place | None,
        spill: Place | None,
        keep_begun: bool,
        max_pixels: int,
        on_progress: Listener | None,
        cancel: Cancel | None,
        kept: Kept | None,
    ) -> None:
        if max_pixels < 1:
            raise ValueRangeError(f"--max-pixels must be at least 1, got {max_pixels}")
        if spill is not None and not Path(spill).is_dir():
            raise UsageError(f"--spill must be a folder that exists, got {spill}")
        self._cancel, self._tell = cancel, _one_at_a_time(on_progress)
        places = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
        paths = [Path(each) for each in places]
        if not paths:
            raise UsageError("expected at least one input, got none")
        target = None if output is None else Path(output)
        if target is not None and target.suffix.lower() in WRITABLE and not target.is_dir():
            options.write.require_use(format_of(target.suffix).kind)
        self.models = Models(
            options, restoring=restoring, say=self._say, measuring=self._measuring, kept=kept
        )
        names = {
            "size": options.size.label(self.models.default_scale),
            "template": options.name or ("{stem}_{size}_preview" if options.preview else "{stem}_{size}"),
        }
        target = target or default_folder(paths, **names)
        found = find(paths, output=target, say=self._say)
        self.many = len(found) > 1 or found[0].searched
        if target is None and found[0].source == STREAM:
            target = STREAM
        folder = target is not None and is_folder("-o", output or target, many=self.many)
        route_folder = route_map is not None and is_folder("--route-map", route_map, many=self.many)
        routes = None if route_map is None else Path(route_map)
        jobs = jobs_for(
            found,
            output=target,
            folder=folder,
            suffix=options.suffix,
            route_map=routes,
            route_folder=route_folder,
            **names,
        )
        self.jobs = without_results(jobs, named=existing.endswith("skip"), say=self._say)
        self._named: dict[str, Path] = {}
        if compare is not None:
            if self.many or self.jobs[0].target == STREAM:
                raise UsageError("--compare is for one picture whose result is a file; name it with -o")
            self._named["the comparison"] = Path(compare)
        if target is not None and folder:
            self._named["the record of the run"] = target / MANIFEST
        if options.model is not None and Path(options.model).is_file():
            self._named["the model"] = Path(options.model)
        self.keep_apart({})
        if existing == "resume" and self.many and target is None:
            raise UsageError(
                "--resume of several files needs their folder of results; name it with -o, or add "
                "--skip-existing"
            )
        self._folders = [
            place for place, needed in ((target, folder), (routes, route_folder)) if needed and place
        ]
        searched = any(each.searched for each in found)
        recorded = target is not None and self.many and (existing.startswith("resume") or searched)
        self._record = target / MANIFEST if target is not None and recorded else None
        self._settings = Settings(
            existing=existing,
            keep_begun=keep_begun,
            folder=target if self.many else None,
            spill=None if spill is None else Path(spill),
            max_pixels=max_pixels,
            compare=None if compare is None else Path(compare),
        )
        self._results = self._work()

    @property
    def is_recorded(self) -> bool:
        """Whether a record tells what is done, with which another run can go on."""
        return self._record is not None

    def keep_apart(self, files: Mapping[str, Path]) -> None:
        """Refuse other files of the caller that would be inputs, results or route maps of this run.

        Args:
            files: what they are -> where.

        Raises:
            UsageError: there is one.
        """
        require_apart(self.jobs, {**self._named, **files})

    def __iter__(self) -> "Run":
        return self

    def __next__(self) -> Result:
        return next(self._results)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.jobs)

    def close(self) -> None:
        """Stop; a picture under way is given up, and nothing is left half-written."""
        self._results.close()

    def _say(self, line: str) -> None:
        self._tell(Remark(line))

    def _measuring(self, model: str, done: float, total: float) -> None:
        self._check()
        self._tell(Measuring(model, done, total))

    def _check(self) -> None:
        cancel = self._cancel
        if cancel is not None and (cancel() if callable(cancel) else cancel.is_set()):
            raise CancelledError("cancelled, as was asked for; nothing was left half-written")

    def _work(self) -> Generator[Result]:
        for folder in self._folders:
            make_folder(folder)
        manifest = None if self._record is None else Manifest(self._record)
        try:
            if len(self.jobs) > 1:
                line = forecast(self.jobs, self.models, self._settings, self._check)
                if line is not None:
                    self._say(line)
            with closing(self._outcomes(manifest)) as outcomes:
                for job, outcome in outcomes:
                    if isinstance(outcome, Exception):
                        error = _guarded(outcome, job)
                        outcome = Result(job.source, job.target, "failed", error=error, cause=outcome)
                        self._tell(Finished(outcome))
                    yield outcome
        finally:
            if manifest is not None:
                manifest.close()

    def _outcomes(self, manifest: Manifest | None) -> Generator[tuple[Job, Result | Exception]]:
        # of several pictures each is computed by one device, a single one by all
        streamed = any(job.source == STREAM for job in self.jobs)
        if len(self.models.devices) > 1 and len(self.jobs) > 1 and not streamed:
            return share(
                self.models, self._settings, self.jobs, manifest, emit=self._tell, check=self._check
            )
        pictures = Pictures(
            self.models, self._settings, self.jobs, manifest, emit=self._tell, check=self._check
        )
        return pipeline(self.jobs, decode=pictures.decode, compute=pictures.compute, encode=pictures.encode)


def _one_at_a_time(listener: Listener | None) -> Listener:
    lock = threading.RLock()

    def tell(event: Event) -> None:
        if listener is not None:
            with lock:
                listener(event)

    return tell


def _guarded(error: Exception, job: Job) -> CamixerError:
    """An error of ours, whatever went wrong."""
    if isinstance(error, CamixerError):
        return error
    what = "out of memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
    return InputError(f"{shown(job.source)}: {what}")
