"""libvips, which decodes and encodes: loaded when first needed, its errors turned into ours."""

import logging
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from camixersr.errors import ImageError, MissingExtraError, OutputError
from camixersr.image.files import shown

__all__ = ["DAMAGED", "damaged", "forget_errors", "no_room", "reason", "unwritable", "vips"]

_FEW = 1 << 20
"""Bytes that a disk must still take not to be called full."""

DAMAGED = "the picture is damaged or truncated, or of a kind that is not supported"


@cache
def vips() -> ModuleType:
    """libvips, loaded when first needed; its cache would serve a file's old content by its path."""
    os.environ.setdefault("VIPS_WARNING", "1")  # which means: do not print warnings
    try:
        import pyvips
    except OSError as error:
        raise ImageError(f"libvips cannot be loaded ({error}); install pyvips-binary") from error
    pyvips.cache_set_max(0)
    # its remarks name no file; what matters is asked for by `fail_on`, and raised
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    return pyvips


def forget_errors() -> None:
    """Drop what libvips said about earlier pictures, which the next error would repeat."""
    vips().vips_lib.vips_error_clear()


def reason(error: Exception) -> str:
    """The last, most specific line of a libvips message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def damaged(source: str | Path) -> Generator[None, None, None]:
    """Name the file in what goes wrong while it is opened, or while its pixels are decoded.

    Args:
        source: the file, or what to call it.

    Raises:
        ImageError: from libvips' errors, and from ours that name no file yet.
        MissingExtraError: the same.
    """
    name = shown(source)
    try:
        yield
    except vips().Error as error:
        raise ImageError(f"{name}: {DAMAGED} ({reason(error)})") from error
    except (ImageError, MissingExtraError) as error:
        raise error if str(error).startswith(name) else type(error)(f"{name}: {error}") from error


@contextmanager
def unwritable(path: str | Path) -> Generator[None, None, None]:
    """Name the file in what goes wrong while it is encoded, beside it or in its place.

    Raises:
        OutputError: from libvips' errors.
    """
    try:
        yield
    except vips().Error as error:
        why = no_room(Path(path).parent) or reason(error)
        raise OutputError(f"{shown(path)}: cannot be written ({why})") from error


def no_room(folder: Path) -> str:
    """What the system says to a few more bytes in a folder; empty if it takes them.

    Encoders say only that they cannot write.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_FEW))
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""
