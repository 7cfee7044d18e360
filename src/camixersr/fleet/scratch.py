"""Folders for what is under way: held by their users, and removed by the next when these are dead."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from camixersr.errors import OutputError
from camixersr.image.files import make_folder, shown
from camixersr.image.locks import hold

__all__ = ["Scratch", "holding", "sweep"]

LOCK = ".held"


def sweep(root: Path, prefix: str = "w-", *, patience: float = 0.0) -> None:
    """Remove what processes left there that have ended.

    Args:
        root: with their folders, or missing.
        prefix: that the folders' names begin with.
        patience: seconds to wait for processes that are about to end.
    """
    until = time.monotonic() + patience
    while True:
        left = [each for each in root.glob(f"{prefix}*") if not _removed(each)] if root.is_dir() else []
        if not left or time.monotonic() >= until:
            return
        time.sleep(0.1)


def _removed(folder: Path) -> bool:
    """Whether a folder is gone now: nobody held it."""
    try:
        held = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return not folder.exists()
    try:
        hold(held)
        shutil.rmtree(folder)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def holding(path: Path, patience: float = 30.0) -> int:
    """Hold a file, made if it is missing, that one process at a time may hold.

    Args:
        path: the file.
        patience: seconds to wait for one that was killed just now.

    Returns:
        A descriptor; closing it, or the end of this process, lets go.

    Raises:
        OutputError: another process holds it, or it cannot be made.
    """
    make_folder(path.parent)
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be used: {error.strerror or error}") from error
    until = time.monotonic() + patience
    while True:
        try:
            hold(held)
            return held
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(held)
                raise OutputError(
                    f"{shown(path.parent.parent)}: another fleet writes there; wait for it to end"
                ) from None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return held


class Scratch:
    """A folder of this process's own; close it, or use `with`.

    Args:
        root: where it lies; made if it is missing.
        prefix: its name begins with.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, root: Path, prefix: str = "w-") -> None:
        make_folder(root)
        sweep(root, prefix)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
            taking = self.folder / f"{LOCK}-soon"
            self._held = os.open(taking, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # a file system without locks: nobody else can hold it
                hold(self._held)
            taking.rename(self.folder / LOCK)  # held before anybody finds it
        except OSError as error:
            raise OutputError(f"{shown(root)}: cannot be used: {error.strerror or error}") from error

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def room(self) -> Generator[Path]:
        """A folder for one picture, gone afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)
        with contextlib.suppress(OSError):
            os.close(self._held)
        with contextlib.suppress(OSError):  # if it is empty now
            self.folder.parent.rmdir()
