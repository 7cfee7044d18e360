"""Write a file whole or not at all."""

import contextlib
import errno
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from camixersr.errors import CamixerError, ImageError, OutputError

__all__ = [
    "beginning",
    "make_folder",
    "open_regular",
    "printable",
    "remove_leftovers",
    "replacing",
    "require_writable",
    "shown",
    "stream_of",
]


_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What the system says where a disk, a quota or a limit of file sizes is reached, or a disk fails."""


def shown(path: str | bytes | Path) -> str:
    r"""A path as text for a message: one line, printable, whatever the name is made of.

    >>> shown("two\nlines.png")
    'two\\nlines.png'
    """
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def printable(text: str) -> str:
    r"""Text that a file holds, for a terminal: control and escape codes are spelled out.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    escaped = (each.encode("unicode_escape", "surrogatepass").decode() for each in text)
    return "".join(each if each.isprintable() else code for each, code in zip(text, escaped, strict=True))


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file to read; what would be waited for, or never ends, is refused.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a socket.
    """
    # not to wait for the other end of a pipe, which no signal would end in a thread
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.ENXIO, "it is a pipe or a device, not a regular file", os.fspath(path))
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor is no path
    except BaseException:
        os.close(descriptor)
        raise


def beginning(source: Path | bytes, length: int) -> bytes:
    """The first bytes of a picture.

    Args:
        source: the file, or its content.
        length: bytes wanted.

    Raises:
        ImageError: it cannot be a picture: missing, empty, a folder, a device, a pipe.
    """
    if isinstance(source, bytes):
        if not source:
            raise ImageError("expected a picture, but the input is empty")
        return source[:length]
    try:
        if source.is_dir():
            raise ImageError("expected a picture, but this is a folder; name the files in it")
        if source.exists() and not source.is_file():
            raise ImageError("expected a file, but this is a device or a pipe; use - for standard input")
        with open_regular(source) as file:
            head = file.read(length)
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise ImageError("expected a picture, but the file is empty")
    return head


def stream_of(source: Path | bytes) -> BinaryIO:
    """A picture as a seekable stream: the file, or its content."""
    return io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)


def _prefix(target: Path) -> str:
    """Begin of the names of temporary files for `target`: plain, and of a length that always fits."""
    return f".camixersr-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def remove_leftovers(target: str | Path) -> None:
    """Remove temporary files for `target` that a killed process left; only if no other writes it.

    Args:
        target: the file that was to be made.
    """
    target = Path(target)
    with contextlib.suppress(OSError):
        for path in target.parent.iterdir():
            if path.name.startswith(_prefix(target)):
                path.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    """Make an empty file beside `target`, with its suffix."""
    try:
        there = target.stat().st_mode if target.exists() else stat.S_IFREG  # a name too long is said here
        if stat.S_ISDIR(there):
            raise OutputError(
                f"{shown(target)}: expected a file to write, but this is a folder; name a file in it"
            )
        if not stat.S_ISREG(there):
            raise OutputError(f"{shown(target)}: expected a file to write, but this is a device or a pipe")
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=_prefix(target), suffix=target.suffix)
    except OutputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{shown(target)}: cannot write there: {reason}") from error
    os.close(descriptor)
    return Path(name)


def require_writable(path: str | Path) -> None:
    """Find out whether `replacing` would work, before anything long is computed for it.

    Args:
        path: the file that will be made or replaced.

    Raises:
        OutputError: the folder is missing or not writable, or `path` is a folder.
    """
    _temporary(Path(path)).unlink()


@contextmanager
def replacing(path: str | Path) -> Generator[Path, None, None]:
    """Lend a temporary file beside `path`, and put it in its place when the block ends well.

    Any failure inside the block removes the temporary file and leaves `path` as it was. The
    temporary file keeps the suffix, which is what encoders go by.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(target) as partial:
    ...     _ = partial.write_text("whole")
    >>> target.read_text()
    'whole'

    Args:
        path: the file to make or replace; its folder must exist.

    Yields:
        The temporary file to write.

    Raises:
        OutputError: the folder is missing or not writable, `path` is a folder, or the disk is full.
    """
    target = Path(path)
    partial = _temporary(target)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # mkstemp's 0600 is for secrets
        try:
            partial.replace(target)
        except OSError as error:
            raise OutputError(f"{shown(target)}: cannot write there: {error.strerror or error}") from error
    except OSError as error:
        if isinstance(error, CamixerError) or error.errno not in _NO_ROOM:
            raise
        raise OutputError(f"{shown(target)}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it; one that exists is left as it is.

    Args:
        path: the folder.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{shown(path)}: the folder cannot be made: {error.strerror or error}") from error
