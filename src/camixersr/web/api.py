"""The HTTP interface: each path asks the service, and answers."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from camixersr.enlarge.forms import described, schema
from camixersr.errors import ImageError
from camixersr.image.files import replacing
from camixersr.image.part import Part
from camixersr.web.events import News
from camixersr.web.guard import COOKIE, cookie_of, owner_of
from camixersr.web.metrics import CONTENT_TYPE_LATEST
from camixersr.web.problems import ProblemError, answers
from camixersr.web.service import DECIDED, Service
from camixersr.web.shown import EXAMPLE, JobList, JobShown, ModelList, media_type, result_name
from camixersr.web.store import Job
from camixersr.web.uploads import json_body, receive
from camixersr.web.views import Layer, View
from camixersr.web.zips import stream_zip

__all__ = ["health", "router"]

router = APIRouter(prefix="/api/v1")
health = APIRouter()

LONGEST_WAIT = 60.0
"""Seconds of `Prefer: wait`."""
OLD = "private, max-age=86400, immutable"
"""Of what never changes under its address."""

JobId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$", description="of a job")]
At = Annotated[int, InPath(ge=0, le=1_000_000)]
Pixels = Annotated[int, Query(ge=0, le=2**31 - 1)]
Side = Annotated[int, Query(ge=1, le=2**31 - 1)]

_PICTURE = {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
_OPTIONS = schema(leave_out=DECIDED)
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "the picture"},
        "action": {"enum": ["upscale", "restore"], "default": "upscale"},
        "options": {"type": "string", "description": "options as a JSON object; or each as a field"},
    },
}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
_ACCEPTED = {
    "description": "It waits; its address is in Location",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/JobShown"},
            "example": EXAMPLE | {"state": "queued", "result": None, "facts": {}},
        }
    },
}
_EVENTS = {
    200: {
        "description": "Events `job` (a job as JSON) and `gone`, as they happen",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def _service(request: Request) -> Service:
    return request.app.state.service


def _owner(request: Request) -> str:
    return owner_of(request.state.token)


def _find(request: Request, number: str) -> Job:
    return _service(request).find(number, _owner(request))


def _done(request: Request, number: str) -> Job:
    job = _find(request, number)
    if job.state != "done":
        raise ProblemError(409, f"the job is {job.state}; it has no result")
    return job


@router.post(
    "/jobs",
    status_code=202,
    summary="Enlarge or restore a picture",
    description="The picture is a form's part `file`, or the body itself; then action, options and "
    "filename are in the query. With `Prefer: wait=30` the answer is the result, if it is done by then.",
    responses={
        202: _ACCEPTED,
        200: {"description": "The result", **_PICTURE},
        **answers(400, 401, 403, 408, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create(
    request: Request,
    prefer: Annotated[str | None, Header(description="wait=SECONDS")] = None,
    idempotency_key: Annotated[
        str | None, Header(description="a request that is repeated with it makes no second job")
    ] = None,
) -> Response:
    """Take a picture."""
    service = _service(request)
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= 200:
        raise ProblemError(400, "Idempotency-Key must have 1 to 200 characters")
    wait = _wait_of(prefer)
    said = request.headers.get("content-length", "")
    length = int(said) if said.isdecimal() and len(said) < 18 else 0
    limit = service.settings.max_upload
    if length > limit + 200_000:
        raise ProblemError(413, f"expected at most {limit:,} bytes, got {length:,}")
    await run_in_threadpool(service.require_room, length)
    upload = await receive(request, service.incoming, max_bytes=limit)
    try:
        job = await service.accept(upload, owner=_owner(request), key=idempotency_key)
    finally:
        upload.drop()
    return await _answer(service, job, wait)


def _wait_of(prefer: str | None) -> float:
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,6})\b", prefer or "")
    return min(LONGEST_WAIT, float(found[1])) if found else 0.0


async def _answer(service: Service, job: Job, wait: float) -> Response:
    """The result, if it is there within so many seconds; else how the job is."""
    until = asyncio.get_running_loop().time() + wait
    while (left := until - asyncio.get_running_loop().time()) > 0:
        now = service.store.get(job.id)
        if now is None or now.is_over:
            break
        await service.hub.changed(min(left, 1.0))
    job = service.store.get(job.id) or job
    address = {"location": f"/api/v1/jobs/{job.id}"}
    if wait and job.state == "failed":
        raise ProblemError(422, job.error or "it failed", headers=address)
    if wait and job.state == "done":
        return _file(service, job, headers=address)
    if wait:
        address["preference-applied"] = f"wait={wait:g}"
    return JSONResponse(service.show(job), 202, headers=address)


def _file(service: Service, job: Job, *, headers: dict[str, str] | None = None) -> FileResponse:
    path = service.folder(job) / "out" / job.outcome["result"]["file"]
    if not path.is_file():
        raise ProblemError(404, "the result has been removed")
    return FileResponse(
        path,
        media_type=media_type(path.name),
        filename=result_name(job),
        headers={"etag": f'"{job.outcome["result"]["sha256"]}"', **(headers or {})},
    )


@router.get("/jobs", summary="All jobs", responses=answers(401, 403))
def list_jobs(request: Request) -> JobList:
    """The jobs of whoever asks, the oldest first."""
    service = _service(request)
    return JobList.model_validate(
        {"jobs": [service.show(job) for job in service.store.all_of(_owner(request))]}
    )


@router.get(
    "/jobs.zip",
    summary="Several results as one archive",
    response_class=Response,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        **answers(401, 403, 404, 409, 422),
    },
)
def get_zip(
    request: Request,
    ids: Annotated[
        str | None,
        Query(description="of jobs, with commas between; all that are done by default", max_length=16_500),
    ] = None,
) -> Response:
    """Results as they are, not compressed again, streamed."""
    service = _service(request)
    numbers = [each for each in ids.split(",") if each]
    if not numbers or not all(re.fullmatch("[0-9a-f]{32}", each) for each in numbers):
        raise ProblemError(422, "ids must be ids of jobs with commas between")
    jobs = [_done(request, each) for each in dict.fromkeys(numbers)]
    files = [
        (result_name(job), service.folder(job) / "out" / job.outcome["result"]["file"]) for job in jobs
    ]
    return StreamingResponse(
        stream_zip(files),
        media_type="application/zip",
        headers={"content-disposition": 'attachment; filename="camixersr.zip"'},
    )


@router.get(
    "/events", summary="News of all jobs", response_class=Response, responses=_EVENTS | answers(401, 403)
)
async def all_events(
    request: Request, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: how all jobs are, and then every change."""
    service, owner = _service(request), _owner(request)

    def current() -> list[News]:
        jobs = service.store.all_of(owner)
        return [News("", "jobs", "", owner, {"jobs": [service.show(job) for job in jobs]})]

    return _stream(service, lambda news: news.owner == owner, current, last_event_id)


@router.get(
    "/jobs/{number}/events",
    summary="News of a job",
    response_class=Response,
    responses=_EVENTS | answers(401, 403, 404),
)
async def events(
    request: Request, number: JobId, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: how the job is, and then every change; it ends with the job."""
    service = _service(request)
    _find(request, number)

    def current() -> list[News]:
        job = service.store.get(number)
        return [] if job is None else [News("", "job", job.id, job.owner, service.show(job))]

    return _stream(service, lambda news: news.id == number, current, last_event_id, ending=True)


def _stream(
    service: Service,
    wanted: Callable[[News], bool],
    current: Callable[[], list[News]],
    last: str | None,
    *,
    ending: bool = False,
) -> StreamingResponse:
    async def lines() -> AsyncGenerator[bytes]:
        yield b"retry: 1000\n\n"
        async for news in service.hub.listen(wanted, current, last=last):
            if news.kind == "ping":
                yield b": still here\n\n"
                continue
            data = JSONResponse(news.data).body
            yield b"id: %s\nevent: %s\ndata: %s\n\n" % (news.mark.encode(), news.kind.encode(), bytes(data))
            if ending and (news.kind == "gone" or news.data["state"] in ("done", "failed", "cancelled")):
                return

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@router.get(
    "/jobs/{number}",
    summary="A job",
    responses={
        200: {"content": {"application/json": {"example": EXAMPLE}}},
        **answers(401, 403, 404, 422),
    },
)
def get_job(request: Request, number: JobId) -> JobShown:
    """How a job is."""
    return JobShown.model_validate(_service(request).show(_find(request, number)))


@router.delete(
    "/jobs/{number}",
    summary="Cancel or remove a job",
    status_code=204,
    response_class=Response,
    responses={
        202: {"model": JobShown, "description": "It is being cancelled"},
        **answers(401, 403, 404, 422),
    },
)
def delete_job(request: Request, number: JobId) -> Response:
    """One that waits or runs is cancelled, within a tile; one that is over is removed with its files."""
    service, job = _service(request), _find(request, number)
    if job.is_over:
        service.remove(job)
        return Response(status_code=204)
    service.cancel(job)
    return JSONResponse(service.show(service.store.get(job.id) or job), 202)


@router.post(
    "/jobs/{number}/again",
    summary="Do the same picture again",
    description="Body: `action` and `options`; those of the first job where nothing is said.",
    status_code=202,
    responses={202: _ACCEPTED, **answers(400, 401, 403, 404, 408, 413, 422, 429, 503)},
    openapi_extra={
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "action": {"enum": ["upscale", "restore"]},
                            "options": _OPTIONS,
                        },
                    },
                    "example": {"options": {"attention_ratio": 0.2}},
                }
            }
        }
    },
)
async def again(request: Request, number: JobId) -> Response:
    """Another job of a picture that is here already, with the same or other options."""
    service, job = _service(request), _find(request, number)
    body = await json_body(request)
    options, action = body.get("options"), body.get("action")
    if options is not None and not isinstance(options, dict):
        raise ProblemError(422, "options must be a JSON object")
    if action is not None and not isinstance(action, str):
        raise ProblemError(422, "action must be upscale or restore")
    service.require_room()
    return await _answer(service, await service.again(job, options, action=action), 0.0)


def _unchanged(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return given == "*" or etag in [each.strip().removeprefix("W/") for each in given.split(",")]


@router.get(
    "/jobs/{number}/result",
    summary="The result",
    response_class=Response,
    responses={
        200: {"description": "The file", **_PICTURE},
        206: {"description": "A part of it (Range)"},
        304: {"description": "You have it (If-None-Match)"},
        400: {"description": "A range that cannot be read", "content": {"text/plain": {}}},
        416: {"description": "A range beyond the file", "content": {"text/plain": {}}},
        **answers(401, 403, 404, 409, 422),
    },
)
def get_result(request: Request, number: JobId) -> Response:
    """The file, byte for byte what the command line writes."""
    job = _done(request, number)
    answer = _file(_service(request), job)
    if _unchanged(request, answer.headers["etag"]):
        return Response(status_code=304, headers={"etag": answer.headers["etag"]})
    return answer


@router.get(
    "/jobs/{number}/route-map",
    summary="Where attention went, over the picture, with a legend",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **answers(401, 403, 404, 409, 422)},
)
def route_map(request: Request, number: JobId) -> Response:
    """As `camixersr upscale --route-map` writes it."""
    return _picture(request, number, "route-map.png")


@router.get(
    "/jobs/{number}/route-layer",
    summary="Where attention went, as a layer for the result",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **answers(401, 403, 404, 409, 422)},
)
def route_layer(request: Request, number: JobId) -> Response:
    """Colours alone; `views.routes` of the job says how large the layer is in pixels of the result."""
    return _picture(request, number, "route-layer.png")


def _picture(request: Request, number: str, name: str) -> Response:
    path = _service(request).folder(_done(request, number)) / name
    if not path.is_file():
        raise ProblemError(404, "the job has no route map: the network was not needed")
    return FileResponse(path, media_type="image/png", headers={"cache-control": OLD})


def _pyramid(request: Request, number: str, layer: Layer) -> tuple[Path, View, View]:
    """The pyramid that a layer is cut from, which it is, and what it is shown as."""
    job = _done(request, number)
    views = job.outcome.get("views", {})
    which = "result" if layer == "result" else "input"
    if which not in views or "result" not in views:
        raise ProblemError(404, f"the job has no view of the {which}")
    source = View(**views[which])
    shown = source if layer in ("result", "input") else View(**views["result"])
    return _service(request).folder(job) / f"{which}.tif", source, shown


async def _cut(request: Request, what: str, *given: Any, **named: Any) -> Response:
    try:
        content = await _service(request).pictures.ask(what, *given, **named)
    except IndexError as error:
        raise ProblemError(404, str(error)) from error
    except ImageError as error:
        raise ProblemError(404, f"it cannot be shown: {error}") from error
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=kind, headers={"cache-control": OLD})


@router.get(
    "/jobs/{number}/tiles/{layer}/{level}/{x}/{y}",
    summary="A tile of the result, of the picture, or of the picture at the result's size",
    response_class=Response,
    responses={200: {"description": "JPEG or PNG", **_PICTURE}, **answers(401, 403, 404, 409, 422)},
)
async def get_tile(request: Request, number: JobId, layer: Layer, level: At, x: At, y: At) -> Response:
    """512 x 512 pixels, less at the right and at the bottom."""
    path, source, shown = await run_in_threadpool(_pyramid, request, number, layer)
    if level >= shown.levels:
        raise ProblemError(404, f"levels go from 0 to {shown.levels - 1}")
    return await _cut(request, "tile", path, source, shown, level, x, y, nearest=layer == "pixels")


@router.get(
    "/jobs/{number}/crop/{layer}",
    summary="A part of the result, of the picture, or of the picture at the result's size",
    response_class=Response,
    responses={200: {"description": "JPEG or PNG", **_PICTURE}, **answers(401, 403, 404, 409, 422)},
)
async def get_crop(
    request: Request,
    number: JobId,
    layer: Layer,
    x: Pixels,
    y: Pixels,
    width: Side,
    height: Side,
    longest: Annotated[int, Query(ge=1, le=4096)] = 2048,
) -> Response:
    """In pixels of the layer, and reduced to a longest side."""
    path, source, shown = await run_in_threadpool(_pyramid, request, number, layer)
    if x + width > shown.width or y + height > shown.height:
        raise ProblemError(422, f"expected a part of {shown.width} x {shown.height} pixels")
    part, nearest = Part(y, x, height, width), layer == "pixels"
    return await _cut(request, "crop", path, source, shown, part, longest=longest, nearest=nearest)


@router.get(
    "/jobs/{number}/thumbnail",
    summary="A small copy",
    response_class=Response,
    responses={200: {"description": "JPEG or PNG", **_PICTURE}, **answers(401, 403, 404, 422)},
)
async def thumbnail(request: Request, number: JobId) -> Response:
    """Of the picture, 320 pixels at the longest side."""
    job = await run_in_threadpool(_find, request, number)
    folder = _service(request).folder(job)
    kept = folder / "thumbnail"
    if not kept.is_file():
        pyramid = folder / "input.tif"
        answer = await _cut(request, "thumbnail", pyramid if pyramid.is_file() else folder / job.file)
        try:
            with replacing(kept) as partial:
                partial.write_bytes(bytes(answer.body))
        except OSError:
            return answer  # a full disk, or a job that has just been removed
    content = await run_in_threadpool(kept.read_bytes)
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=kind, headers={"cache-control": OLD})


@router.get("/models", summary="Models", responses=answers(401, 403))
def models(request: Request) -> ModelList:
    """Those that are embedded, and those of the authors' that have been pulled."""
    return ModelList.model_validate({"models": _service(request).crew.models})


@router.get("/options", summary="Options, for a form", responses=answers(401, 403))
def options() -> dict[str, Any]:
    """Every option: group, words, kinds, default; and what it does."""
    names = {int: "integer", float: "number", bool: "boolean", str: "string"}
    return {
        "options": [
            {
                "name": each.name,
                "group": each.group,
                "about": each.about,
                "kinds": [names[kind] for kind in each.kinds],
                "choices": list(each.choices),
                "default": each.default,
            }
            for each in described()
            if each.name not in DECIDED
        ]
    }


@router.post(
    "/session",
    summary="Let the page in",
    status_code=204,
    response_class=Response,
    responses=answers(401, 403),
)
def session(request: Request) -> Response:
    """Turn the token of this request into a cookie, which pictures and downloads are asked for with."""
    answer = Response(status_code=204)
    if request.state.token:
        answer.set_cookie(
            COOKIE,
            cookie_of(request.state.token),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            max_age=30 * 86400,
        )
    return answer


@health.get("/healthz", summary="The server answers")
async def healthz() -> dict[Literal["status"], str]:
    """Always, while it does."""
    return {"status": "ok"}


@health.get("/readyz", summary="A process can compute", responses=answers(503))
async def readyz(request: Request) -> dict[str, int]:
    """How many processes can compute."""
    crew = _service(request).crew
    if not crew.ready:
        raise ProblemError(503, crew.trouble or "no process has begun to compute yet")
    return {"workers": crew.ready}


@health.get(
    "/metrics",
    summary="For Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **answers(401, 403)},
)
def metrics(request: Request) -> Response:
    """Jobs, seconds, answers, the queue."""
    service = _service(request)
    text = service.metrics.text(service.store.counts(), service.crew.ready)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
