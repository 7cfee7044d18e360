"""The HTTP interface to fleets: pictures that lie where the service reaches them, and are not sent."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from camixersr.web.api import stream_news
from camixersr.web.asked import fleet_schema
from camixersr.web.events import News
from camixersr.web.problems import ProblemError, answers
from camixersr.web.shown import FleetList, FleetShown
from camixersr.web.sights import JobId, owner_of_request, service_of
from camixersr.web.store import Job
from camixersr.web.uploads import json_body

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/fleets")

_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["source", "dest"],
                "properties": {
                    "source": {"type": "string", "description": "Folder or address with the pictures."},
                    "dest": {"type": "string", "description": "Folder or address for the results."},
                    "options": fleet_schema(),
                },
            },
            "example": {
                "source": "s3://archive/photos",
                "dest": "s3://archive/large",
                "options": {"scale": 2},
            },
        }
    },
}


def _fleet_of(request: Request, number: str) -> Job:
    return service_of(request).find(number, owner_of_request(request), fleet=True)


@router.post(
    "",
    status_code=202,
    summary="Enlarge a folder or an object store",
    description="Only below the places that the operator allows with --fleet-source and --fleet-dest.",
    responses={
        202: {"model": FleetShown, "description": "The fleet is in the queue. Its address is in Location."},
        **answers(400, 401, 403, 408, 413, 422, 429, 503),
    },
    openapi_extra={"requestBody": _BODY},
)
async def create(request: Request) -> Response:
    """Begin a run. A second one of the same places does what is missing or has changed."""
    service, body = service_of(request), await json_body(request)
    source, dest, options = body.get("source"), body.get("dest"), body.get("options") or {}
    if not isinstance(source, str) or not isinstance(dest, str):
        raise ProblemError(422, "source and dest must be folders or addresses, as text")
    if not isinstance(options, dict):
        raise ProblemError(422, "options must be a JSON object")
    job = await service.begin_fleet(source, dest, options, owner=owner_of_request(request))
    return JSONResponse(service.show(job), 202, headers={"location": f"/api/v1/fleets/{job.id}"})


@router.get("", summary="List fleets", responses=answers(401, 403))
def list_fleets(request: Request) -> FleetList:
    """Your fleets, the oldest first."""
    service = service_of(request)
    jobs = service.store.all_of(owner_of_request(request), fleets=True)
    return FleetList.model_validate({"fleets": [service.show(job) for job in jobs]})


@router.get("/{number}", summary="Show a fleet", responses=answers(401, 403, 404, 422))
def get_fleet(request: Request, number: JobId) -> FleetShown:
    """The fleet's state, progress and failures."""
    return FleetShown.model_validate(service_of(request).show(_fleet_of(request, number)))


@router.get(
    "/{number}/events",
    summary="Follow a fleet",
    response_class=Response,
    responses={
        200: {
            "description": "Events: `fleet` with the fleet as JSON, and `gone` after its removal.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **answers(401, 403, 404),
    },
)
async def events(
    request: Request, number: JobId, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: the state of the fleet first, then every change, until it ends."""
    service = service_of(request)
    _fleet_of(request, number)

    def current() -> list[News]:
        job = service.store.get(number)
        return [] if job is None else [News("", "fleet", job.id, job.owner, service.show(job))]

    return stream_news(service, lambda news: news.id == number, current, last_event_id, ending=True)


@router.delete(
    "/{number}",
    summary="Stop or forget a fleet",
    status_code=204,
    response_class=Response,
    responses={
        202: {"model": FleetShown, "description": "The fleet stops after the pictures that it has begun."},
        **answers(401, 403, 404, 422),
    },
)
def delete_fleet(request: Request, number: JobId) -> Response:
    """A running fleet begins no more pictures. A finished one is removed from the list. Results stay."""
    service, job = service_of(request), _fleet_of(request, number)
    if job.is_over:
        service.remove(job)
        return Response(status_code=204)
    service.cancel(job)
    return JSONResponse(service.show(service.store.get(job.id) or job), 202)
