"""A job as the interface shows it."""

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from camixersr.enlarge.forms import options_from
from camixersr.web.dispatch import Standing
from camixersr.web.store import Job, State
from camixersr.web.uploads import plain_name

__all__ = [
    "EXAMPLE",
    "FleetList",
    "FleetShown",
    "JobList",
    "JobShown",
    "ModelList",
    "media_type",
    "result_name",
    "show",
    "show_fleet",
]

API = "/api/v1/jobs"
LEAST = 0.02
"""Share of a picture after which the rest can be told."""
FEW = 3
"""Frames of a film after which it can."""

_MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
}


class FramesShown(BaseModel):
    """How many frames of a film are done."""

    done: int
    total: int


class ProgressShown(BaseModel):
    """How far a job is."""

    percent: float = Field(ge=0, le=100)
    frames: FramesShown | None = Field(description="Of a film; null of a picture.")
    seconds: float = Field(description="Seconds since the start.")
    remaining_seconds: float | None = Field(description="An estimate; null before there is one.")
    remark: str


class FilmShown(BaseModel):
    """What the head of a film says. It may be wrong or incomplete."""

    codec: str
    frames: int | None
    seconds: float | None


class PictureShown(BaseModel):
    """What was uploaded: a picture, or a film with the size of its frames."""

    kind: str
    width: int
    height: int
    pages: int
    bytes: int
    sha256: str
    film: FilmShown | None = Field(description="Null of a picture.")


class ResultShown(BaseModel):
    """The result of a job."""

    name: str
    media_type: str
    bytes: int
    sha256: str
    width: int
    height: int


class ViewShown(BaseModel):
    """A pyramid of tiles of 512 x 512. Level `levels - 1` has all pixels, each lower one half a side."""

    width: int
    height: int
    levels: int
    alpha: bool


class RoutesShown(BaseModel):
    """The layer of attention, in pixels of the result. It may reach beyond the result."""

    width: float
    height: float
    window: float


class ViewsShown(BaseModel):
    """The layers that a viewer can show."""

    result: ViewShown | None = None
    input: ViewShown | None = None
    routes: RoutesShown | None = None


class JobShown(BaseModel):
    """One picture or film to be enlarged or restored, with its result."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    name: str
    action: Literal["upscale", "restore"]
    state: State
    options: dict[str, Any] = Field(description="Options that differ from the defaults.")
    picture: PictureShown
    created: float = Field(description="Seconds since 1970.")
    started: float | None
    finished: float | None
    expires: float | None = Field(description="When the job and its files are removed.")
    position: int | None = Field(description="Number of jobs that wait before it.")
    progress: ProgressShown | None
    cancelling: bool
    error: str | None
    notes: list[str] = Field(description="What was changed or could not be kept.")
    facts: dict[str, Any] = Field(description="The same facts as `camixersr upscale --json` writes.")
    result: ResultShown | None
    views: ViewsShown
    links: dict[str, str]


class JobList(BaseModel):
    """Jobs, the oldest first."""

    jobs: list[JobShown]
    next: str | None = Field(description="Address of the next page, if there may be one.")


class FleetProgressShown(BaseModel):
    """How far a fleet is."""

    pictures: int
    over: int = Field(description="Pictures that are done or have failed.")
    seconds: float = Field(description="Seconds since the start.")
    remaining_seconds: float | None = Field(description="An estimate; null before there is one.")
    remark: str


class FleetShown(BaseModel):
    """One run of a fleet, with its results."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    source: str
    dest: str
    state: State
    options: dict[str, Any] = Field(description="Options that differ from the defaults.")
    created: float = Field(description="Seconds since 1970.")
    started: float | None
    finished: float | None
    expires: float | None = Field(description="When the fleet leaves the list. Results stay.")
    position: int | None = Field(description="Number of fleets that wait before it.")
    progress: FleetProgressShown | None
    cancelling: bool
    error: str | None
    facts: dict[str, Any] = Field(
        description="Numbers of pictures: in all, done now, done before, failed, and left."
    )
    failures: list[str] = Field(
        description="The first 20 failures, a line each. The table in dest has all."
    )
    links: dict[str, str]


class FleetList(BaseModel):
    """Runs of fleets, the oldest first."""

    fleets: list[FleetShown]


class ModelShown(BaseModel):
    """A model that you can use."""

    name: str
    action: Literal["upscale", "restore"]
    scale: int
    panoramas: bool
    about: str


class ModelList(BaseModel):
    """The models that you can use."""

    models: list[ModelShown]


def media_type(file: str) -> str:
    """What a result is, by its name."""
    return _MEDIA.get(Path(file).suffix.lower(), "application/octet-stream")


def result_name(job: Job) -> str:
    """What a result is called: as on the command line, for the name that the picture came with."""
    file, stem = Path(job.outcome["result"]["file"]), Path(job.name).stem
    rest = file.stem.removeprefix("input")
    template = job.options.get("name")
    if template is None:
        return plain_name(f"{stem}{rest}{file.suffix}")
    size = options_from(job.options).size.label(job.outcome["facts"]["scale"])
    named = template.replace("{stem}", stem).replace("{name}", job.name).replace("{size}", size)
    return plain_name(f"{named}{file.suffix}")


def show(job: Job, progress: Standing | None, *, position: int | None, keep: float) -> dict[str, Any]:
    """A job as JSON values, see `JobShown`.

    Args:
        job: the job.
        progress: of one that runs.
        position: of one that waits.
        keep: hours that it is kept.
    """
    own, outcome = f"{API}/{job.id}", job.outcome
    links = {"self": own, "events": f"{own}/events", "thumbnail": f"{own}/thumbnail"}
    result = None
    if job.state == "done":
        width, height = outcome["facts"]["high_size"]
        result = {
            "name": result_name(job),
            "media_type": media_type(outcome["result"]["file"]),
            "bytes": outcome["result"]["bytes"],
            "sha256": outcome["result"]["sha256"],
            "width": width,
            "height": height,
        }
        links["result"] = f"{own}/result"
        if outcome.get("views", {}).get("routes"):
            links |= {"route_map": f"{own}/route-map", "route_layer": f"{own}/route-layer"}
    return {
        "id": job.id,
        "name": job.name,
        "action": job.action,
        "state": job.state,
        "options": dict(job.options),
        "picture": {"film": None, **job.picture, "bytes": job.bytes, "sha256": job.sha256},
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "expires": None if job.finished is None else job.finished + 3600.0 * keep,
        "position": position,
        "progress": _progress(job, progress),
        "cancelling": job.cancelling,
        "error": job.error,
        "notes": list(outcome.get("notes", ())),
        "facts": dict(outcome.get("facts", {})),
        "result": result,
        "views": {"result": None, "input": None, "routes": None, **outcome.get("views", {})},
        "links": links,
    }


def show_fleet(job: Job, progress: Standing | None, *, position: int | None, keep: float) -> dict[str, Any]:
    """A run of a fleet as JSON values, see `FleetShown`; arguments as for `show`."""
    own = f"/api/v1/fleets/{job.id}"
    far = _progress(job, progress)
    if far is not None:
        standing = progress or Standing()
        known = {name: far[name] for name in ("seconds", "remaining_seconds", "remark")}
        far = {"pictures": int(standing.total), "over": int(standing.done), **known}
    return {
        "id": job.id,
        "source": job.picture["source"],
        "dest": job.picture["dest"],
        "state": job.state,
        "options": dict(job.options),
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "expires": None if job.finished is None else job.finished + 3600.0 * keep,
        "position": position,
        "progress": far,
        "cancelling": job.cancelling,
        "error": job.error,
        "facts": dict(job.outcome.get("facts", {})),
        "failures": list(job.outcome.get("failures", ())),
        "links": {"self": own, "events": f"{own}/events"},
    }


def _progress(job: Job, progress: Standing | None) -> dict[str, Any] | None:
    if job.state != "running":
        return None
    progress = progress or Standing()
    share = min(1.0, progress.done / progress.total) if progress.total else 0.0
    seconds = time.time() - job.started if job.started else progress.seconds
    made = progress.done - progress.before  # in these seconds
    known = made >= FEW if job.is_film else share >= LEAST
    rest = progress.seconds * (progress.total - progress.done) / made if known and made else None
    frames = {"done": int(progress.done), "total": int(progress.total)} if job.is_film else None
    return {
        "percent": round(100.0 * share, 1),
        "frames": frames,
        "seconds": round(seconds, 1),
        "remaining_seconds": None if rest is None else round(rest, 1),
        "remark": progress.remark,
    }


_FACTS: dict[str, Any] = {"model": "s-x4", "attention_share": 0.41, "seconds": 2.1}
EXAMPLE: dict[str, Any] = {
    "id": "0123456789abcdef0123456789abcdef",
    "name": "photo.jpg",
    "action": "upscale",
    "state": "done",
    "options": {"scale": 4.0},
    "picture": {
        "kind": "jpeg", "width": 640, "height": 480, "pages": 1, "bytes": 91234, "sha256": "5e88…",
        "film": None,
    },
    "created": 1790000000.0,
    "started": 1790000000.5,
    "finished": 1790000003.0,
    "expires": 1790086403.0,
    "position": None,
    "progress": None,
    "cancelling": False,
    "error": None,
    "notes": [],
    "facts": _FACTS,
    "result": {
        "name": "photo_x4.jpg", "media_type": "image/jpeg", "bytes": 1234567, "sha256": "9b74…",
        "width": 2560, "height": 1920,
    },
    "views": {
        "result": {"width": 2560, "height": 1920, "levels": 4, "alpha": False},
        "input": {"width": 640, "height": 480, "levels": 2, "alpha": False},
        "routes": {"width": 2560.0, "height": 1920.0, "window": 64.0},
    },
    "links": {"result": "/api/v1/jobs/0123456789abcdef0123456789abcdef/result"},
}  # fmt: skip
