"""The application: the service behind its interface and its page, ready to be served."""

import socket
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from importlib import resources
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from camixersr import __version__
from camixersr.errors import UsageError
from camixersr.web import api, fleet_api, sights
from camixersr.web.guard import Guard
from camixersr.web.problems import Problem, ProblemError, problem
from camixersr.web.service import Service
from camixersr.web.settings import Settings

__all__ = ["make_app", "serve"]

ABOUT = """Enlarge pictures (content-aware super-resolution) and restore JPEGs.

Send a picture to `POST /api/v1/jobs`, follow `Location`, fetch `/result`. Options are those of the command
line. Errors are RFC 9457 problem documents."""


def make_app(settings: Settings) -> FastAPI:
    """Make the application.

    Args:
        settings: of the service.

    Raises:
        OutputError: the folder for data cannot be used.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="camixersr",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(api.router)
    app.include_router(sights.router)
    app.include_router(fleet_api.router)
    app.include_router(api.health)
    app.mount("/", StaticFiles(directory=Path(str(resources.files("camixersr.web") / "page")), html=True))
    app.add_middleware(Guard, settings=settings, count=service.metrics.answered)
    _answer_errors(app)
    _describe(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem(error.status, error.detail, headers=error.headers)

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, str(error.detail), headers=error.headers)

    async def of_values(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
        return problem(422, "; ".join(found))

    async def of_disk(_: Request, error: Exception) -> Response:
        if isinstance(error, sqlite3.OperationalError) and "full" not in str(error):
            return problem(500, "the queue cannot be written; see the log of the service")
        return problem(507, "the disk of the service is full; nothing was kept")

    app.add_exception_handler(ProblemError, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_values)
    app.add_exception_handler(sqlite3.OperationalError, of_disk)


def _describe(app: FastAPI) -> None:
    """Put our own problems into the description, instead of the framework's."""
    made = app.openapi

    def openapi() -> dict[str, object]:
        text = made()
        components = text["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            components.pop(unused, None)
        components["Problem"] = Problem.model_json_schema()
        return text

    app.openapi = openapi


def serve(settings: Settings, *, begun: Callable[[str], None]) -> None:
    """Serve until the process is told to end.

    Args:
        settings: of the service.
        begun: told the address of the page.

    Raises:
        UsageError: the address or port cannot be listened on.
        OutputError: the folder for data cannot be used.
    """
    with closing(_listening(settings.host, settings.port)) as listening:
        app = make_app(settings)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        host, port = listening.getsockname()[:2]
        begun(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    listening: socket.socket | None = None
    try:
        where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(where[0], where[1])
        if sys.platform != "win32":  # there it would share a port that is in use
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where[4])
        listening.listen(2048)  # whoever is told the address may come at once
    except OSError as error:
        if listening is not None:
            listening.close()
        raise UsageError(
            f"--host {host} --port {port} cannot be listened on: {error.strerror or error}"
        ) from error
    return listening
