"""A film's file, opened to be read: only a file, errors as ours, and the stream that is enlarged."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
from av.stream import Disposition

from camixersr.errors import ImageError
from camixersr.image.files import shown

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["opened", "picture_stream", "reading"]

LAST_ERRNO = 4095
"""Greatest error number of a system; FFmpeg's own are greater."""


@contextmanager
def opened(path: Path, *, containers: str = "") -> "Generator[InputContainer]":
    """A film to read; what FFmpeg says of it while it is read becomes an `ImageError`.

    Args:
        path: the file.
        containers: FFmpeg's names of those that may be opened, with commas; empty for all.

    Raises:
        ImageError: it cannot be read.
    """
    # only files: a playlist must not reach the network
    options = {"protocol_whitelist": "file", "fflags": "+genpts"}
    if containers:
        options["format_whitelist"] = containers
    with reading(path), av.open(str(path.absolute()), options=options) as container:
        yield container


@contextmanager
def reading(path: Path) -> "Generator[None]":
    """What FFmpeg says of a film while it is read becomes an `ImageError`."""
    try:
        yield
    except av.error.FFmpegError as error:
        if isinstance(error, av.error.MemoryError):
            raise
        is_data = error.errno is None or error.errno > LAST_ERRNO
        reason = "its data is damaged or it is no film" if is_data else error.strerror
        raise ImageError(f"{shown(path)}: expected a film, but it cannot be read: {reason}") from error


def picture_stream(container: "InputContainer") -> "VideoStream | None":
    """The stream that is enlarged: the first that is no cover picture."""
    apart = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((each for each in container.streams.video if not each.disposition & apart), None)
