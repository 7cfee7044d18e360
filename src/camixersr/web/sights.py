"""What requests share, and the paths of pictures: results, maps, tiles, parts, thumbnails."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from camixersr.errors import ImageError
from camixersr.image.files import replacing
from camixersr.image.part import Part
from camixersr.web import films, views
from camixersr.web.guard import owner_of
from camixersr.web.problems import ProblemError, answers
from camixersr.web.service import Service
from camixersr.web.shown import media_type, result_name
from camixersr.web.store import Job
from camixersr.web.views import Layer, View

__all__ = [
    "RESULT",
    "JobId",
    "done_job",
    "job_of",
    "owner_of_request",
    "result_of",
    "router",
    "service_of",
]

router = APIRouter(prefix="/api/v1")

Given = ParamSpec("Given")

OLD = "private, max-age=86400, immutable"
"""Of what never changes under its address."""

JobId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$", description="Id of the job.")]
At = Annotated[int, InPath(ge=0, le=1_000_000)]
Pixels = Annotated[int, Query(ge=0, le=2**31 - 1)]
Side = Annotated[int, Query(ge=1, le=2**31 - 1)]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURE = {"content": {"image/*": _BINARY}}
"""A picture, for the description."""
RESULT = {"content": {"image/*": _BINARY, "video/*": _BINARY}}
"""A picture or a film, likewise."""


def service_of(request: Request) -> Service:
    """The service behind a request."""
    return request.app.state.service


def owner_of_request(request: Request) -> str:
    """Whose request it is."""
    return owner_of(request.state.token)


def job_of(request: Request, number: str) -> Job:
    """A job of whoever asks."""
    return service_of(request).find(number, owner_of_request(request))


def done_job(request: Request, number: str) -> Job:
    """A job that is done."""
    job = job_of(request, number)
    if job.state != "done":
        raise ProblemError(409, f"the job is {job.state}; it has no result")
    return job


def result_of(service: Service, job: Job, *, headers: dict[str, str] | None = None) -> FileResponse:
    """A result as an answer, byte for byte what the command line writes."""
    path = service.folder(job) / "out" / job.outcome["result"]["file"]
    if not path.is_file():
        raise ProblemError(404, "the result has been removed")
    return FileResponse(
        path,
        media_type=media_type(path.name),
        filename=result_name(job),
        headers={"etag": f'"{job.outcome["result"]["sha256"]}"', **(headers or {})},
    )


def _unchanged(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return given == "*" or etag in [each.strip().removeprefix("W/") for each in given.split(",")]


@router.get(
    "/jobs/{number}/result",
    summary="Download the result",
    response_class=Response,
    responses={
        200: {"description": "The file.", **RESULT},
        206: {"description": "The part that Range asks for."},
        304: {"description": "Your copy is up to date (If-None-Match)."},
        400: {"description": "The range cannot be read.", "content": {"text/plain": {}}},
        416: {"description": "The range lies beyond the file.", "content": {"text/plain": {}}},
        **answers(401, 403, 404, 409, 422),
    },
)
def get_result(request: Request, number: JobId) -> Response:
    """The file has the same bytes as the one that the command line writes."""
    job = done_job(request, number)
    answer = result_of(service_of(request), job)
    if _unchanged(request, answer.headers["etag"]):
        return Response(status_code=304, headers={"etag": answer.headers["etag"]})
    return answer


@router.get(
    "/jobs/{number}/route-map",
    summary="Show where attention went, as a picture with a legend",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **answers(401, 403, 404, 409, 422)},
)
def route_map(request: Request, number: JobId) -> Response:
    """The same picture as `camixersr upscale --route-map` writes."""
    return _picture(request, number, "route-map.png")


@router.get(
    "/jobs/{number}/route-layer",
    summary="Show where attention went, as a layer for the result",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **answers(401, 403, 404, 409, 422)},
)
def route_layer(request: Request, number: JobId) -> Response:
    """Colours only. `views.routes` of the job gives the size of the layer in pixels of the result."""
    return _picture(request, number, "route-layer.png")


def _picture(request: Request, number: str, name: str) -> Response:
    path = service_of(request).folder(done_job(request, number)) / name
    if not path.is_file():
        raise ProblemError(404, "the job has no route map: the network was not needed")
    return FileResponse(path, media_type="image/png", headers={"cache-control": OLD})


def _pyramid(request: Request, number: str, layer: Layer) -> tuple[Path, View, View]:
    """The pyramid that a layer is cut from, which it is, and what it is shown as."""
    job = done_job(request, number)
    made = job.outcome.get("views", {})
    which = "result" if layer == "result" else "input"
    if which not in made or "result" not in made:
        raise ProblemError(404, f"the job has no view of the {which}")
    source = View(**made[which])
    shown = source if layer in ("result", "input") else View(**made["result"])
    return service_of(request).folder(job) / f"{which}.tif", source, shown


async def _cut(
    request: Request, function: Callable[Given, bytes], *given: Given.args, **named: Given.kwargs
) -> Response:
    try:
        content = await service_of(request).pictures.ask(function, *given, **named)
    except IndexError as error:
        raise ProblemError(404, str(error)) from error
    except ImageError as error:
        raise ProblemError(404, f"it cannot be shown: {error}") from error
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=kind, headers={"cache-control": OLD})


@router.get(
    "/jobs/{number}/tiles/{layer}/{level}/{x}/{y}",
    summary="Get a tile of the result, the source, or the source at the result's size",
    response_class=Response,
    responses={200: {"description": "JPEG or PNG", **PICTURE}, **answers(401, 403, 404, 409, 422)},
)
async def get_tile(request: Request, number: JobId, layer: Layer, level: At, x: At, y: At) -> Response:
    """Tiles have 512 x 512 pixels. At the right and bottom edges they are smaller."""
    path, source, shown = await run_in_threadpool(_pyramid, request, number, layer)
    if level >= shown.levels:
        raise ProblemError(404, f"levels go from 0 to {shown.levels - 1}")
    return await _cut(request, views.tile, path, source, shown, level, x, y, nearest=layer == "pixels")


@router.get(
    "/jobs/{number}/crop/{layer}",
    summary="Get a part of the result, the source, or the source at the result's size",
    response_class=Response,
    responses={200: {"description": "JPEG or PNG", **PICTURE}, **answers(401, 403, 404, 409, 422)},
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
    """Coordinates are pixels of the layer. The part is reduced to the longest side that you give."""
    path, source, shown = await run_in_threadpool(_pyramid, request, number, layer)
    if x + width > shown.width or y + height > shown.height:
        raise ProblemError(422, f"expected a part of {shown.width} x {shown.height} pixels")
    part, nearest = Part(y, x, height, width), layer == "pixels"
    return await _cut(request, views.crop, path, source, shown, part, longest=longest, nearest=nearest)


@router.get(
    "/jobs/{number}/thumbnail",
    summary="Get a thumbnail",
    response_class=Response,
    responses={200: {"description": "JPEG or PNG", **PICTURE}, **answers(401, 403, 404, 422)},
)
async def thumbnail(request: Request, number: JobId) -> Response:
    """A copy of the picture, or of one frame of the film. Its longest side has 320 pixels."""
    job = await run_in_threadpool(job_of, request, number)
    folder = service_of(request).folder(job)
    kept = folder / "thumbnail"
    if not kept.is_file():
        pyramid, own = folder / "input.tif", folder / job.file
        if pyramid.is_file():
            answer = await _cut(request, views.thumbnail, pyramid)
        else:
            answer = await _cut(request, films.poster if job.is_film else views.thumbnail, own)
        try:
            with replacing(kept) as partial:
                partial.write_bytes(bytes(answer.body))
        except OSError:
            return answer  # a full disk, or a job that has just been removed
    content = await run_in_threadpool(kept.read_bytes)
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=kind, headers={"cache-control": OLD})
