"""The service behind the interface: takes pictures and films in, shows jobs, and cleans up."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camixersr.enlarge.options import Options
from camixersr.errors import CamixerError, ImageError, MissingExtraError, OutputError, UsageError
from camixersr.image.fallback import TooLargeError
from camixersr.image.formats import kind_of
from camixersr.image.part import PREVIEW
from camixersr.image.size import Size
from camixersr.video.forms import FilmOptions
from camixersr.web.asked import read_fleet_options, read_options, record_of
from camixersr.web.dispatch import Dispatcher
from camixersr.web.events import Hub
from camixersr.web.films import SPARE, expected_bytes, film_head, frames_asked
from camixersr.web.fleets import NotAllowedError, admitted
from camixersr.web.folders import locked, remove_path, wait_for_others
from camixersr.web.metrics import Metrics
from camixersr.web.pictures import PictureReader
from camixersr.web.problems import ProblemError
from camixersr.web.settings import Settings
from camixersr.web.shown import show, show_fleet
from camixersr.web.store import AlreadyThereError, Job, QueueFullError, Store
from camixersr.web.uploads import Upload, as_object, plain_name
from camixersr.web.views import head

__all__ = ["Service"]

SWEEP = 30.0
"""Seconds between two looks for what is to be removed."""
PATIENCE = 60.0
"""Seconds that the first request waits for the processes to begin."""


class Service:
    """Everything but HTTP.

    Args:
        settings: as it was started.

    Raises:
        OutputError: another service uses the folder, or it cannot be made.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs, self.incoming = settings.data / "jobs", settings.data / "incoming"
        try:
            for each in (self.jobs, self.incoming):
                each.mkdir(parents=True, exist_ok=True)
            settings.data.chmod(0o700)
        except OSError as error:
            raise OutputError(
                f"--data {settings.data} cannot be used: {error.strerror or error}"
            ) from error
        self._lock = locked(settings.data / "lock")
        self.store = Store(settings.data / "jobs.sqlite", max_queue=settings.max_queue)
        self.hub, self.pictures, self.metrics = Hub(), PictureReader(), Metrics()
        self.dispatcher = Dispatcher(
            self.store,
            self.jobs,
            device=settings.device,
            backend=settings.backend,
            max_pixels=settings.max_in,
            max_film=settings.max_film,
            fleet=(settings.fleet_address, settings.fleet_workers) if settings.fleet_sources else None,
            changed=self.tell,
            over=self.metrics.over,
        )
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin: what ran when the last service ended is queued again, what belongs to no job removed."""
        await asyncio.to_thread(wait_for_others, self.settings.data / "workers.lock")
        self.store.recover()
        known = self.store.ids()
        for path in (*self.incoming.iterdir(), *self.jobs.iterdir()):
            if path.name not in known:
                remove_path(path)
        self.hub.open()
        await asyncio.to_thread(self.dispatcher.start)
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """End; jobs stay as they are."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.hub.close()
        await asyncio.to_thread(self.dispatcher.stop)
        self.pictures.close()
        self.store.close()
        os.close(self._lock)

    async def _sweep(self) -> None:
        while True:
            old = self.store.older(time.time() - 3600.0 * self.settings.keep)
            for job in old:
                await asyncio.to_thread(self.remove, job)
            await asyncio.sleep(SWEEP)

    # showing ----------------------------------------------------------------------------------------

    def folder(self, job: Job) -> Path:
        """Where a job's files are."""
        return self.jobs / job.id

    def show(self, job: Job) -> dict[str, Any]:
        """A job as JSON values."""
        position = self.store.position(job) if job.state == "queued" else None
        progress = self.dispatcher.progress(job.id)
        if job.is_fleet:
            return show_fleet(job, progress, position=position, keep=self.settings.keep)
        return show(job, progress, position=position, keep=self.settings.keep)

    def tell(self, number: str) -> None:
        """Tell everybody who listens how a job is."""
        job = self.store.get(number)
        if job is not None:
            self.hub.publish("fleet" if job.is_fleet else "job", job.id, job.owner, self.show(job))

    def find(self, number: str, owner: str, *, fleet: bool = False) -> Job:
        """Somebody's job.

        Args:
            number: of the job.
            owner: whose.
            fleet: a run of a fleet, else a file.

        Raises:
            ProblemError: there is none, or it is somebody else's, which is not told apart.
        """
        job = self.store.get(number)
        if job is None or job.owner != owner or job.is_fleet != fleet:
            raise ProblemError(404, "there is no such job, or it has been removed")
        return job

    # taking in --------------------------------------------------------------------------------------

    def require_room(self, length: int = 0) -> None:
        """Refuse an upload before it comes.

        Args:
            length: bytes that it is said to have.

        Raises:
            ProblemError: the queue or the disk is full.
        """
        try:
            self.store.require_room()
        except QueueFullError as error:
            raise self._full(error) from error
        if shutil.disk_usage(self.settings.data).free < length + SPARE:
            raise ProblemError(507, "the disk of the service is full; nothing was kept")

    def _full(self, error: QueueFullError) -> ProblemError:
        seconds = self.metrics.average * self.settings.max_queue / max(1, len(self.dispatcher))
        wait = str(int(min(3600.0, max(1.0, 0.1 * seconds))))
        return ProblemError(429, f"{error}; try again later", headers={"retry-after": wait})

    async def accept(self, upload: Upload, *, owner: str, key: str | None) -> Job:
        """Make a job of an upload, which is then its own.

        Raises:
            ProblemError: the options or the picture cannot be used, or there is no room.
        """
        fields = dict(upload.fields)
        if fields.pop("filename", "") and upload.name == "picture":
            upload.name = plain_name(upload.fields["filename"])
        action = fields.pop("action", "upscale")
        given = as_object(fields.pop("options", "{}") or "{}", "options")
        options = self._options(action, {**fields, **given}, film=bool(upload.container))
        await self._require_models()
        self._require_model(action, options)
        picture = await self._head(upload)
        self._require_size(picture, options, action, upload.bytes)
        job = self._job(action, options, owner=owner, key=key, name=upload.name, picture=picture, file="")
        file = f"input{upload.suffix}"
        return self._queue(upload.path, replace(job, file=file, sha256=upload.sha256, bytes=upload.bytes))

    async def again(self, job: Job, values: Mapping[str, Any] | None, *, action: str | None) -> Job:
        """Make another job of the same picture.

        Args:
            job: the first one.
            values: options instead of its own; None for the same.
            action: instead of its own.

        Raises:
            ProblemError: as for `accept`.
        """
        action = action or job.action
        options = self._options(action, job.options if values is None else values, film=job.is_film)
        await self._require_models()
        self._require_model(action, options)
        self._require_size(job.picture, options, action, job.bytes)
        other = self._job(
            action, options, owner=job.owner, key=None, name=job.name, picture=job.picture, file=job.file
        )
        copy = self.incoming / secrets.token_hex(16)
        try:
            os.link(self.folder(job) / job.file, copy)  # they are never written again
        except OSError as error:
            raise ProblemError(404, "the picture of this job has been removed") from error
        return self._queue(copy, replace(other, file=job.file, sha256=job.sha256, bytes=job.bytes))

    async def begin_fleet(self, source: str, dest: str, values: Mapping[str, Any], *, owner: str) -> Job:
        """Queue a run of a fleet.

        Args:
            source: place of pictures.
            dest: place for results.
            values: options.
            owner: whose it is.

        Raises:
            ProblemError: a place that the operator has not named, or options that cannot be used.
        """
        settings = self.settings
        try:
            here = await asyncio.to_thread(admitted, "source", source, settings.fleet_sources)
            there = await asyncio.to_thread(admitted, "dest", dest, settings.fleet_dests)
            options = read_fleet_options(values)
        except NotAllowedError as error:
            raise ProblemError(403, str(error)) from error
        except CamixerError as error:
            raise ProblemError(422, str(error)) from error
        await self._require_models()
        self._require_model("upscale", options)
        places = {"source": here, "dest": there}
        job = self._job("fleet", options, owner=owner, key=None, name=here, picture=places, file="")
        try:
            self.store.add(job)
        except QueueFullError as error:
            raise self._full(error) from error
        self.dispatcher.wake()
        self.tell(job.id)
        return job

    def _job(
        self,
        action: str,
        options: Options | FilmOptions,
        *,
        owner: str,
        key: str | None,
        name: str,
        picture: Mapping[str, Any],
        file: str,
    ) -> Job:
        return Job(
            id=secrets.token_hex(16),
            owner=owner,
            key=key,
            action=action,
            name=name,
            file=file,
            sha256="",
            bytes=0,
            options=record_of(options),
            picture=picture,
            created=time.time(),
        )

    def _queue(self, path: Path, job: Job) -> Job:
        folder = self.folder(job)
        try:
            folder.mkdir()
            path.replace(folder / job.file)
            self.store.add(job)
        except AlreadyThereError as there:
            remove_path(folder)
            old = there.job
            if (old.sha256, old.options, old.action) != (job.sha256, job.options, job.action):
                raise ProblemError(422, "this Idempotency-Key was used for another request") from None
            return old
        except QueueFullError as error:
            remove_path(folder)
            raise self._full(error) from error
        except BaseException:
            remove_path(folder)
            path.unlink(missing_ok=True)
            raise
        self.metrics.uploaded.inc(job.bytes)
        self.dispatcher.wake()
        self.tell(job.id)
        return job

    def _options(self, action: str, values: Mapping[str, Any], *, film: bool) -> Options | FilmOptions:
        if action not in ("upscale", "restore"):
            raise ProblemError(422, f"action must be upscale or restore, got {action[:60]!r}")
        try:
            options = read_options(values, film=film)
        except UsageError as error:
            raise ProblemError(422, str(error)) from error
        if action == "restore" and isinstance(options, FilmOptions):
            raise ProblemError(422, "films are enlarged, and not restored; use action=upscale")
        if action == "restore" and _of_frames(options).size != Size():
            raise ProblemError(422, "pictures are restored at their own size; leave the size out")
        return options

    async def _require_models(self) -> None:
        until = time.monotonic() + PATIENCE
        while not self.dispatcher.models:
            if time.monotonic() > until or self.dispatcher.trouble:
                why = self.dispatcher.trouble or "no process has begun to compute yet"
                raise ProblemError(503, why, headers={"retry-after": "5"})
            await asyncio.sleep(0.05)

    def _require_model(self, action: str, options: Options | FilmOptions) -> None:
        """A name of the catalogue: a file of the machine is nobody's business."""
        fitting = [each["name"] for each in self.dispatcher.models if each["action"] == action]
        model = _of_frames(options).model
        if model is not None and model not in fitting:
            raise ProblemError(
                422, f"no model {model[:60]!r} to {action} with; models: {', '.join(fitting)}"
            )

    async def _head(self, upload: Upload) -> dict[str, Any]:
        path = upload.path
        if upload.suffix:  # camera files look like TIFFs, but for their names
            path = upload.path.with_name(upload.path.name + upload.suffix)
            upload.path.replace(path)
            upload.path = path
        try:
            read = film_head if upload.container else head
            return await self.pictures.ask(read, path, max_pixels=self.settings.max_in)
        except TooLargeError as error:
            limit = self.settings.max_in / 1e6
            raise ProblemError(
                413, f"expected at most {limit:g} megapixels: {_line(error, path)}"
            ) from error
        except MissingExtraError as error:
            raise ProblemError(415, _line(error, path)) from error
        except ImageError as error:
            with path.open("rb") as file:
                known = upload.container or kind_of(file.read(64))
            raise ProblemError(422 if known else 415, _line(error, path)) from error

    def _require_size(
        self, picture: Mapping[str, Any], asked: Options | FilmOptions, action: str, size: int
    ) -> None:
        """Refuse what would become too large.

        Args:
            picture: what its head says.
            asked: its options.
            action: what is done with it.
            size: bytes of the file.

        Raises:
            ProblemError: too many pixels, or the disk would not hold them.
        """
        options = _of_frames(asked)
        scales = sorted({each["scale"] for each in self.dispatcher.models if each["action"] == action})
        if options.model is not None:
            scales = [each["scale"] for each in self.dispatcher.models if each["name"] == options.model]
        if not scales:
            return
        low = (picture["height"], picture["width"])
        default = 4 if 4 in scales else scales[-1]
        limit = self.settings.max_out
        try:
            high = options.size.of(*low, default=default, reach=scales[-1])
            pixels = high[0] * high[1]
        except UsageError as error:
            raise ProblemError(422, str(error)) from error
        except OverflowError:
            pixels = limit + 1
        if options.preview:
            pixels = min(pixels, (PREVIEW * scales[-1]) ** 2)
        elif picture["kind"] == "tiff":
            pixels *= picture["pages"]
        if pixels > limit:
            raise ProblemError(
                413, f"expected a result of at most {limit / 1e6:g} megapixels; ask for a smaller one"
            )
        if isinstance(asked, FilmOptions):
            self._require_film(picture, asked, pixels, size)

    def _require_film(self, picture: Mapping[str, Any], asked: FilmOptions, pixels: int, size: int) -> None:
        """Refuse a film with too many frames of so many pixels, or too large for the disk."""
        frames, share = frames_asked(picture["film"], asked)
        limit = self.settings.max_film
        if frames is not None and pixels * frames > 1.01 * limit:  # it is an estimate; the process counts
            raise ProblemError(
                413,
                f"expected a film of at most {limit / 1e9:g} gigapixels in all, got about {frames:.0f} "
                f"frames of {pixels / 1e6:g} megapixels; ask for smaller ones, or for a part of the film",
            )
        larger = pixels / (picture["width"] * picture["height"])
        needed = expected_bytes(size, larger, share)
        if shutil.disk_usage(self.settings.data).free < needed + SPARE:
            raise ProblemError(
                507,
                f"the disk of the service does not hold the about {needed:,} bytes that this film takes",
            )

    # ending -----------------------------------------------------------------------------------------

    def cancel(self, job: Job) -> None:
        """Cancel a job that waits or runs."""
        self.store.cancel(job.id)
        self.dispatcher.cancel(job.id)
        self.tell(job.id)

    def remove(self, job: Job) -> None:
        """Remove a job that is over, with its files."""
        if self.store.remove(job.id):
            remove_path(self.folder(job))
            self.hub.publish("gone", job.id, job.owner, {"id": job.id})


def _of_frames(asked: Options | FilmOptions) -> Options:
    return asked.options if isinstance(asked, FilmOptions) else asked


def _line(error: CamixerError, path: Path) -> str:
    """A message without the place where the upload lies."""
    return " ".join(str(error).replace(f"{path}: ", "").replace(str(path), "the picture").split())
