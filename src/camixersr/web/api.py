"""The HTTP interface to jobs, and what is told of the service: each path asks the service, and answers."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from camixersr.enlarge.forms import Described
from camixersr.web.asked import asked_schema, offered
from camixersr.web.events import News
from camixersr.web.guard import COOKIE, cookie_of
from camixersr.web.metrics import CONTENT_TYPE_LATEST
from camixersr.web.problems import ProblemError, answers
from camixersr.web.service import Service
from camixersr.web.shown import (
    EXAMPLE,
    JobList,
    JobShown,
    ModelList,
    result_name,
)
from camixersr.web.sights import RESULT, JobId, done_job, job_of, owner_of_request, result_of, service_of
from camixersr.web.store import Job
from camixersr.web.uploads import Limits, json_body, receive
from camixersr.web.zips import stream_zip

__all__ = ["health", "router", "stream_news"]

router = APIRouter(prefix="/api/v1")
health = APIRouter()

LONGEST_WAIT = 60.0
"""Seconds of `Prefer: wait`."""


_OPTIONS = asked_schema()
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The picture or film."},
        "action": {"enum": ["upscale", "restore"], "default": "upscale"},
        "options": {"type": "string", "description": "Options, as one JSON object."},
    },
}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "video/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
_ACCEPTED = {
    "description": "The job is in the queue. Its address is in Location.",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/JobShown"},
            "example": EXAMPLE | {"state": "queued", "result": None, "facts": {}},
        }
    },
}
_EVENTS = {
    200: {
        "description": "Events: `job` with the job as JSON, and `gone` after its removal.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/jobs",
    status_code=202,
    summary="Enlarge a picture or a film, or restore a picture",
    description="The file is a form's part `file`, or the body itself; then action, options and "
    "filename are in the query. With `Prefer: wait=30` the answer is the result, if it is done by then.",
    responses={
        202: _ACCEPTED,
        200: {"description": "The result", **RESULT},
        **answers(400, 401, 403, 408, 413, 415, 422, 429, 503, 507),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create(
    request: Request,
    prefer: Annotated[str | None, Header(description="wait=SECONDS: wait so long for the result.")] = None,
    idempotency_key: Annotated[
        str | None, Header(description="Your key. A repeated request with it makes no second job.")
    ] = None,
) -> Response:
    """Take a picture or a film."""
    service = service_of(request)
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= 200:
        raise ProblemError(400, "Idempotency-Key must have 1 to 200 characters")
    wait = _wait_of(prefer)
    said = request.headers.get("content-length", "")
    length = int(said) if said.isdecimal() and len(said) < 18 else 0
    limits = Limits(service.settings.max_upload, service.settings.max_film_upload)
    if length > limits.most + 200_000:
        raise ProblemError(413, f"expected at most {limits.most:,} bytes, got {length:,}")
    await run_in_threadpool(service.require_room, length)
    upload = await receive(request, service.incoming, limits=limits)
    try:
        job = await service.accept(upload, owner=owner_of_request(request), key=idempotency_key)
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
        return result_of(service, job, headers=address)
    if wait:
        address["preference-applied"] = f"wait={wait:g}"
    return JSONResponse(service.show(job), 202, headers=address)


@router.get("/jobs", summary="List jobs", responses=answers(401, 403, 404, 422))
def list_jobs(
    request: Request,
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="Most jobs in the answer. Default: all.")
    ] = None,
    after: Annotated[
        str | None, Query(pattern="^[0-9a-f]{32}$", description="Start after the job with this id.")
    ] = None,
) -> JobList:
    """Your jobs, the oldest first. `next` is the address of the following page."""
    service = service_of(request)
    if after is not None:
        job_of(request, after)
    jobs = service.store.all_of(owner_of_request(request), after=after, limit=limit or -1)
    more = f"/api/v1/jobs?limit={limit}&after={jobs[-1].id}" if limit and len(jobs) == limit else None
    return JobList.model_validate({"jobs": [service.show(job) for job in jobs], "next": more})


@router.get(
    "/jobs.zip",
    summary="Download several results as one ZIP archive",
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
        Query(
            description="Job ids, separated by commas. Default: all jobs that are done.", max_length=6_600
        ),
    ] = None,
) -> Response:
    """The archive is streamed. Results are stored in it without further compression."""
    service = service_of(request)
    if ids is None:
        jobs = [job for job in service.store.all_of(owner_of_request(request)) if job.state == "done"]
    else:
        numbers = ids.split(",")
        if not all(re.fullmatch("[0-9a-f]{32}", each) for each in numbers):
            raise ProblemError(422, "ids must be ids of jobs with commas between")
        jobs = [done_job(request, each) for each in dict.fromkeys(numbers)]
    files = [
        (result_name(job), service.folder(job) / "out" / job.outcome["result"]["file"]) for job in jobs
    ]
    return StreamingResponse(
        stream_zip(files),
        media_type="application/zip",
        headers={"content-disposition": 'attachment; filename="camixersr.zip"'},
    )


@router.get(
    "/events", summary="Follow all jobs", response_class=Response, responses=_EVENTS | answers(401, 403)
)
async def all_events(
    request: Request, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: the state of all jobs first, then every change."""
    service, owner = service_of(request), owner_of_request(request)

    def current() -> list[News]:
        jobs = service.store.all_of(owner)
        return [News("", "jobs", "", owner, {"jobs": [service.show(job) for job in jobs]})]

    return stream_news(
        service, lambda news: news.owner == owner and news.kind != "fleet", current, last_event_id
    )


@router.get(
    "/jobs/{number}/events",
    summary="Follow a job",
    response_class=Response,
    responses=_EVENTS | answers(401, 403, 404),
)
async def events(
    request: Request, number: JobId, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: the state of the job first, then every change, until it ends."""
    service = service_of(request)
    job_of(request, number)

    def current() -> list[News]:
        job = service.store.get(number)
        return [] if job is None else [News("", "job", job.id, job.owner, service.show(job))]

    return stream_news(service, lambda news: news.id == number, current, last_event_id, ending=True)


def stream_news(
    service: Service,
    wanted: Callable[[News], bool],
    current: Callable[[], list[News]],
    last: str | None,
    *,
    ending: bool = False,
) -> StreamingResponse:
    """News as they come, as server-sent events.

    Args:
        service: whose.
        wanted: which news.
        current: how things are.
        last: mark of the last that was heard.
        ending: end with the job.
    """

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
    summary="Show a job",
    responses={
        200: {"content": {"application/json": {"example": EXAMPLE}}},
        **answers(401, 403, 404, 422),
    },
)
def get_job(request: Request, number: JobId) -> JobShown:
    """The job's state, progress, options and facts."""
    return JobShown.model_validate(service_of(request).show(job_of(request, number)))


@router.delete(
    "/jobs/{number}",
    summary="Cancel or remove a job",
    status_code=204,
    response_class=Response,
    responses={
        202: {"model": JobShown, "description": "The job is being cancelled."},
        **answers(401, 403, 404, 422),
    },
)
def delete_job(request: Request, number: JobId) -> Response:
    """Cancel a job that waits or runs, after its current tile. Remove a finished job with its files."""
    service, job = service_of(request), job_of(request, number)
    if job.is_over:
        service.remove(job)
        return Response(status_code=204)
    service.cancel(job)
    return JSONResponse(service.show(service.store.get(job.id) or job), 202)


@router.post(
    "/jobs/{number}/again",
    summary="Run the same picture or film again",
    description="Body: `action` and `options`. What you leave out is taken from the first job.",
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
    """Another job of a picture or film that is here already, with the same or other options."""
    service, job = service_of(request), job_of(request, number)
    body = await json_body(request)
    options, action = body.get("options"), body.get("action")
    if options is not None and not isinstance(options, dict):
        raise ProblemError(422, "options must be a JSON object")
    if action is not None and not isinstance(action, str):
        raise ProblemError(422, "action must be upscale or restore")
    service.require_room()
    return await _answer(service, await service.again(job, options, action=action), 0.0)


@router.get("/models", summary="List models", responses=answers(401, 403))
def models(request: Request) -> ModelList:
    """The embedded models, and the authors' models that you have pulled."""
    return ModelList.model_validate({"models": service_of(request).dispatcher.models})


@router.get("/options", summary="List options", responses=answers(401, 403))
def options() -> dict[str, Any]:
    """Every option of pictures and films: its group, label, values, default and meaning."""
    return {
        "options": [_form_of(each) for each in offered(films=False)],
        "film_options": [_form_of(each) for each in offered(films=True)],
    }


def _form_of(option: Described) -> dict[str, Any]:
    names = {int: "integer", float: "number", bool: "boolean", str: "string"}
    return {
        "name": option.name,
        "group": option.group,
        "about": option.about,
        "kinds": [names[kind] for kind in option.kinds],
        "choices": list(option.choices),
        "several": option.several,
        "default": option.plain(option.default),
    }


@router.post(
    "/session",
    summary="Open a session for a browser",
    status_code=204,
    response_class=Response,
    responses=answers(401, 403),
)
def session(request: Request) -> Response:
    """Set a cookie from the token of this request. Browsers need it for pictures and downloads."""
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


@health.get("/healthz", summary="Check that the server runs")
async def healthz() -> dict[Literal["status"], str]:
    """Answers 200 as long as the server runs."""
    return {"status": "ok"}


@health.get("/readyz", summary="Check that jobs can run", responses=answers(503))
async def readyz(request: Request) -> dict[str, int]:
    """The number of processes that are ready to compute."""
    dispatcher = service_of(request).dispatcher
    if not dispatcher.ready:
        raise ProblemError(503, dispatcher.trouble or "no process has begun to compute yet")
    return {"workers": dispatcher.ready}


@health.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **answers(401, 403)},
)
def metrics(request: Request) -> Response:
    """Counts of jobs, seconds and answers, and the length of the queue."""
    service = service_of(request)
    text = service.metrics.text(service.store.counts(), service.dispatcher.ready)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
