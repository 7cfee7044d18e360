"""Errors as RFC 9457 has them: what went wrong, in JSON that a program can tell apart."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

__all__ = ["MEDIA_TYPE", "Problem", "ProblemError", "answers", "problem"]

MEDIA_TYPE = "application/problem+json"

TITLES: Mapping[int, str] = {
    400: "The request is malformed",
    401: "A token is needed",
    403: "Access is not allowed",
    404: "Nothing has this address",
    405: "This method is not allowed here",
    408: "The upload is too slow",
    409: "The job is not in a state for this",
    413: "The upload is too large",
    415: "The file is no picture or film",
    416: "The range lies beyond the file",
    422: "The options, the picture or the film cannot be used",
    429: "Too many jobs wait",
    500: "The service failed",
    503: "The service is not ready yet",
    507: "The disk is full",
}


class Problem(BaseModel):
    """What went wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class ProblemError(Exception):
    """An answer that says what went wrong.

    Args:
        status: of HTTP.
        detail: one line: what was expected, what came, what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer itself."""
    known = Problem(title=TITLES.get(status, "It did not work"), status=status, detail=detail)
    return JSONResponse(known.model_dump(), status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a path's problems."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
