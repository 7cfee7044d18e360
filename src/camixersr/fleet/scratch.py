"""Folders for what is under way: held by their users, and removed by the next when these are dead."""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from camixersr.errors import OutputError
from camixersr.image.files import make_folder, shown
from camixersr.image.locks import hold

__all__ = ["LOCK", "Scratch", "holding", "private", "sweep", "temporary"]

LOCK = ".held"

YOUNG = 60.0
"""Seconds within which a folder without a lock may be one that is being made."""


def temporary(name: str) -> Path:
    """A name of this user's in the system's folder for what is temporary; see `private`."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"{name}-{user}"


def sweep(root: Path, prefix: str = "w-", *, patience: float = 0.0, keep: Collection[str] = ()) -> None:
    """Remove what processes left there that have ended.

    Args:
        root: with their folders, or missing.
        prefix: that the folders' names begin with.
        patience: seconds to wait for processes that are about to end.
        keep: names of folders that stay.
    """
    until = time.monotonic() + patience
    while True:
        there = [each for each in root.glob(f"{prefix}*") if each.name not in keep]
        left = [each for each in there if not _removed(each)]
        if not left or time.monotonic() >= until:
            return
        time.sleep(0.1)


def _removed(folder: Path) -> bool:
    """Whether a folder is gone now: nobody held it."""
    try:
        held = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return _abandoned(folder)
    except OSError:
        return False
    try:
        hold(held)
        shutil.rmtree(folder)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _abandoned(folder: Path) -> bool:
    """Whether a folder without a lock is gone now: its maker was killed before it held it."""
    try:
        if time.time() - folder.stat().st_mtime < YOUNG:
            return False
        shutil.rmtree(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def private(root: Path) -> None:
    """Make a folder that only this user may look into, or take one of this user's that is there.

    Raises:
        OutputError: somebody else's folder, a link or a file has that name.
    """
    make_folder(root.parent)
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700)
    there = root.lstat()
    mine = not hasattr(os, "getuid") or there.st_uid == os.getuid()
    if not stat.S_ISDIR(there.st_mode) or not mine:
        raise OutputError(
            f"{shown(root)}: expected a folder of this user's, found something else; remove it, or name "
            "another folder with TMPDIR"
        )
    root.chmod(0o700)


def holding(path: Path, where: str, patience: float = 30.0) -> int:
    """Hold a file, made if it is missing, that one process at a time may hold.

    Args:
        path: the file.
        where: what it stands for, in words.
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
                raise OutputError(f"{where}: another fleet writes there; wait for it to end") from None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return held


class Scratch:
    """A folder of this process's own; close it, or use `with`.

    Args:
        root: where it lies; made if it is missing.
        prefix: its name begins with.
        keep_root: leave the place where it lies, also when that is empty.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, root: Path, prefix: str = "w-", *, keep_root: bool = False) -> None:
        self._keep_root = keep_root
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
        if not self._keep_root:
            with contextlib.suppress(OSError):  # if it is empty now
                self.folder.parent.rmdir()
