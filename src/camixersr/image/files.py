"""Write a file whole or not at all."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from camixersr.errors import OutputError

__all__ = ["make_folder", "remove_leftovers", "replacing", "require_writable", "shown"]


def shown(path: str | Path) -> str:
    r"""A path as text for a message: one line, printable, whatever the name is made of.

    >>> shown("two\nlines.png")
    'two\\nlines.png'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


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
    if target.is_dir():
        raise OutputError(
            f"{shown(target)}: expected a file to write, but this is a folder; name a file in it"
        )
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=_prefix(target), suffix=target.suffix)
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
        OutputError: the folder is missing or not writable, or `path` is a folder.
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
