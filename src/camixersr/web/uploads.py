"""A picture or a film on its way in: counted and written while it comes, whatever the request calls it."""

import asyncio
import errno
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from camixersr.errors import MissingExtraError
from camixersr.image.formats import READABLE
from camixersr.video.containers import SUFFIXES, container_of
from camixersr.web.films import require_films
from camixersr.web.problems import ProblemError

__all__ = ["Limits", "Upload", "json_body", "receive"]

MOST_FIELDS = 64
LONGEST_FIELD = 1 << 16  # bytes, of all fields of a form, and of a JSON body
SILENCE = 30.0
"""Seconds without a byte."""
GRACE, LEAST_RATE = 60.0, 2000.0
"""After so many seconds at least so many bytes a second, on average."""
LONGEST_NAME = 120
HEAD = 1024
"""Bytes that tell a film from a picture."""


@dataclass(frozen=True)
class Limits:
    """Bytes that may come.

    Attributes:
        picture: of one.
        film: of one.
    """

    picture: int
    film: int

    @property
    def most(self) -> int:
        """Of anything."""
        return max(self.picture, self.film)


@dataclass
class Upload:
    """What came.

    Attributes:
        path: of the file.
        name: of the file, for people.
        container: of a film, by how it begins; empty for all else.
        suffix: of its name, if such files have it; it tells camera files from TIFFs, for example.
        fields: what else the form had, or the query of a raw upload.
        sha256: of the file.
        bytes: of the file.
    """

    path: Path
    name: str = "picture"
    container: str = ""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    sha256: str = ""
    bytes: int = 0

    @property
    def suffix(self) -> str:
        """Of its name, if such files have it."""
        found = Path(self.name).suffix.lower()
        return found if found in (SUFFIXES if self.container else READABLE) else ""

    def drop(self) -> None:
        """Remove the file, if it is still there."""
        self.path.unlink(missing_ok=True)


def plain_name(name: str) -> str:
    """A file's name without folders and without what cannot be printed; only ever shown."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(each for each in last if each.isprintable()).strip().strip(".")
    stem, dot, suffix = shown.rpartition(".")
    if dot and len(suffix) <= 8:
        return f"{stem[: LONGEST_NAME - len(suffix) - 1]}.{suffix}" if stem else "picture"
    return shown[:LONGEST_NAME] or "picture"


async def _chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        ProblemError: too much of it, or too slowly.
    """
    too_large = _too_large(limit)
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said[:20]) > limit:
        raise too_large
    began, total = time.monotonic(), 0
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), SILENCE)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ProblemError(408, f"nothing came for {SILENCE:g} seconds") from None
        except ClientDisconnect:
            raise ProblemError(400, "the upload was cut off") from None
        total += len(chunk)
        if total > limit:
            raise too_large
        seconds = time.monotonic() - began
        if seconds > GRACE and total < LEAST_RATE * seconds:
            raise ProblemError(408, f"expected {LEAST_RATE:g} bytes a second at least")
        yield chunk


async def json_body(request: Request) -> dict[str, Any]:
    """A JSON object as the body; an empty one if there is no body.

    Raises:
        ProblemError: something else.
    """
    body = b"".join([chunk async for chunk in _chunks(request, LONGEST_FIELD)])
    return as_object(body, "the body") if body.strip() else {}


def as_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ProblemError: something else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ProblemError(400, f"{what} must be JSON") from None
    if not isinstance(found, dict):
        raise ProblemError(422, f"{what} must be a JSON object, got {type(found).__name__}")
    return {str(name): value for name, value in found.items()}


async def receive(request: Request, folder: Path, *, limits: Limits) -> Upload:
    """Take the one picture or film of a request: a form's part `file`, or the body itself.

    Args:
        request: with the body.
        folder: where it is written.
        limits: of its bytes.

    Returns:
        The upload; `drop` it if it is not used.

    Raises:
        ProblemError: anything that is wrong with it.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    upload = Upload(folder / secrets.token_hex(16))
    try:
        with upload.path.open("wb") as file:
            sink = _Sink(upload, file, limits, _said_length(request))
            if kind == b"multipart/form-data":
                await _form(request, sink, parameters.get(b"boundary", b""), limits.most)
            elif kind == b"application/octet-stream" or kind.startswith((b"image/", b"video/")):
                upload.fields = dict(request.query_params)
                upload.name = plain_name(_name_of(request))
                async for chunk in _chunks(request, limits.most):
                    sink.write(chunk)
            else:
                raise ProblemError(
                    415, "expected multipart/form-data, image/..., video/... or application/octet-stream"
                )
            sink.end()
        if upload.bytes == 0:
            raise ProblemError(422, "expected a picture or a film, but none came, or an empty one")
        upload.sha256 = sink.hash.hexdigest()
    except OSError as error:
        upload.drop()
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ProblemError(507, "the disk of the service is full; nothing was kept") from error
        raise
    except BaseException:
        upload.drop()
        raise
    return upload


def _name_of(request: Request) -> str:
    """The name of a raw upload: of its Content-Disposition, or of the query."""
    said = request.headers.get("content-disposition", "")
    if coded := re.search(r"filename\*\s*=\s*utf-8'[^']*'([^\s;]+)", said, re.IGNORECASE):
        return unquote(coded[1])
    _, parameters = parse_options_header(said)
    found = parameters.get(b"filename", b"").decode("utf-8", "replace")
    return found or request.query_params.get("filename", "")


def _said_length(request: Request) -> int:
    """Bytes that the body is said to have; 0 where nothing is said."""
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < 18 else 0


class _Sink:
    """Where the file's bytes go."""

    def __init__(self, upload: Upload, file: BinaryIO, limits: Limits, said: int) -> None:
        self._upload, self._file, self._limits, self._said = upload, file, limits, said
        self._head: bytearray | None = bytearray()
        self._limit = limits.most
        self.hash = hashlib.sha256()

    @property
    def upload(self) -> Upload:
        return self._upload

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.hash.update(chunk)
        self._upload.bytes += len(chunk)
        if self._head is not None:
            self._head += chunk[:HEAD]
            if len(self._head) >= HEAD:
                self._tell(bytes(self._head))
        if self._upload.bytes > self._limit:
            raise _too_large(self._limit)

    def end(self) -> None:
        """All has come."""
        if self._head is not None:
            self._tell(bytes(self._head))
        if self._upload.bytes > self._limit:
            raise _too_large(self._limit)

    def _tell(self, head: bytes) -> None:
        """Tell a film from a picture before the rest comes.

        Raises:
            ProblemError: it is larger than such files may be, or nothing here reads films.
        """
        self._head = None
        self._upload.container = container_of(head)
        self._limit = self._limits.film if self._upload.container else self._limits.picture
        if self._said > self._limit + 3 * LONGEST_FIELD:
            raise _too_large(self._limit)
        if self._upload.container:
            try:
                require_films()
            except MissingExtraError as error:
                raise ProblemError(415, str(error)) from error


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, f"expected at most {limit:,} bytes, got more")


class _Form:
    """What the parser of a form calls."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._header = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: bytearray | None = None
        self._name = ""
        self._length = self._count = 0
        self.files = 0
        self.ended = False

    def callbacks(self) -> Mapping[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._count += 1
        if self._count > MOST_FIELDS:
            raise ProblemError(413, f"expected at most {MOST_FIELDS} fields, got more")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._bound(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound(end - start)

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = parameters.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in parameters or self._name == "file":
            self.files += 1
            if self.files > 1:
                raise ProblemError(422, "expected one file a request, got several")
            self._field = None
            upload = self._sink.upload
            upload.name = plain_name(parameters.get(b"filename", b"").decode("utf-8", "replace"))
        else:
            self._field = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._sink.write(data[start:end])
        else:
            self._bound(end - start)
            self._field += data[start:end]

    def _bound(self, length: int) -> None:
        self._length += length
        if self._length > LONGEST_FIELD:
            raise ProblemError(413, f"expected at most {LONGEST_FIELD:,} bytes of fields, got more")

    def _end(self) -> None:
        if self._field is not None:
            self._sink.upload.fields[self._name] = self._field.decode("utf-8", "replace")

    def _finish(self) -> None:
        self.ended = True


async def _form(request: Request, sink: _Sink, boundary: bytes, max_bytes: int) -> None:
    if not boundary:
        raise ProblemError(400, "multipart/form-data needs its boundary")
    form = _Form(sink)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # pyright: ignore[reportArgumentType]
        async for chunk in _chunks(request, max_bytes + 2 * LONGEST_FIELD):
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        raise ProblemError(400, f"the form cannot be read: {error}") from error
    if not form.ended:
        raise ProblemError(400, "the form was cut off")
    if not form.files:
        raise ProblemError(422, "expected the file as the part `file`")
