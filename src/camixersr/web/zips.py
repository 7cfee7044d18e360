"""An archive that is made while it is sent: nothing of it is ever held."""

import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["stream_zip", "unique_names"]

CHUNK = 1 << 18


class _Pipe:
    """A file that only ever goes on; `zipfile` then writes what it needs behind each member."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing to do."""

    def take(self) -> bytes:
        found = b"".join(self._chunks)
        self._chunks.clear()
        return found


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, those that come again with a number.

    >>> unique_names(["a.png", "a.png", "b.png"])
    ['a.png', 'a (2).png', 'b.png']
    """
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        path, number, each = Path(name), 1, name
        while each.lower() in taken:
            number += 1
            each = f"{path.stem} ({number}){path.suffix}"
        taken.add(each.lower())
        found.append(each)
    return found


def stream_zip(files: Sequence[tuple[str, Path]]) -> Iterator[bytes]:
    """An archive of files as they are: pictures hardly get smaller.

    Args:
        files: name in the archive, and the file.

    Yields:
        Pieces of it.
    """
    pipe: Any = _Pipe()
    names = unique_names([name for name, _ in files])
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, (_, path) in zip(names, files, strict=True):
            member = zipfile.ZipInfo(name, time.localtime(path.stat().st_mtime)[:6])
            member.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(member, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield pipe.take()
            yield pipe.take()
    yield pipe.take()
