"""Where pictures and results lie: a folder, or a prefix in an object store, behind one small protocol.

Stores by obstore: S3, Google and Azure. Their credentials come from the environment of each machine.
"""

import errno
import os
import re
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from camixersr.errors import CamixerError, DownloadError, OutputError, UsageError
from camixersr.fleet.secrets import one_line
from camixersr.image.files import make_folder, printable, remove_leftovers, replacing, shown
from camixersr.runs.targets import require_inside

__all__ = ["PART", "Bucket", "Entry", "Folder", "Place", "Store", "place_of"]

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "azure": "az", "abfs": "az", "abfss": "az"}
"""Schemes of object stores, and whose they are."""

PART = 8 * 2**20
"""Bytes of a part: what is larger goes in parts, as many as it takes."""

MOST_PARTS = 9000
"""S3 takes 10,000; parts of larger files are larger."""


@dataclass(frozen=True)
class Entry:
    """A file or an object.

    Attributes:
        key: its path below the place, with slashes.
        size: bytes.
        version: changes when the content does: an ETag, or time and size of a file.
        modified: when it was written, seconds since 1970.
    """

    key: str
    size: int
    version: str
    modified: float


class Store(Protocol):
    """Files by key; an open `Place`."""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """What lies there, or below a prefix that ends at a slash, in any order; no hidden files."""
        ...

    def local(self, key: str) -> Path | None:
        """The file itself, if it lies in a folder."""
        ...

    def fetch(self, key: str, path: Path) -> None:
        """Copy to a local file."""
        ...

    def deliver(self, path: Path, key: str) -> None:
        """Put a local file there, whole or not at all; the local one may be gone then."""
        ...

    def read(self, key: str) -> bytes:
        """All of it."""
        ...

    def ranges(self, key: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Some of it: from the first byte up to the second, each."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Make or replace it, whole or not at all."""
        ...

    def remove(self, keys: Iterable[str]) -> None:
        """Have these be gone."""
        ...

    def clear(self, prefix: str) -> None:
        """Have all below a prefix that ends at a slash be gone, and what a killed writer left there."""
        ...


@dataclass(frozen=True)
class Place:
    """A folder or a prefix of an object store, by its address; `open` it to use it.

    Attributes:
        url: without a slash at its end; holds no secrets.
        folder: it, if it is one.
    """

    url: str
    folder: Path | None = None

    def __str__(self) -> str:
        return printable(self.url)

    def open(self) -> "Store":
        """What reads and writes there.

        Raises:
            UsageError: the store's configuration does not suffice.
        """
        if self.folder is not None:
            return Folder(self.folder)
        from obstore.store import from_url

        scheme, rest = self.url.split("://", 1)
        try:
            made: Any = from_url(f"{scheme}://{quote(rest)}")  # it is decoded there: keys are as they are
        except Exception as error:  # noqa: BLE001 - obstore's own, of many kinds
            raise UsageError(f"{self}: this store cannot be used: {one_line(error)}") from None
        return Bucket(made, self.url)

    def holds(self, other: "Place") -> bool:
        """Whether another place is this one, or below it."""
        if self.folder is not None and other.folder is not None:
            return other.folder.is_relative_to(self.folder)
        same = (self.folder is None) == (other.folder is None)
        return same and f"{other.url}/".startswith(f"{self.url}/")

    def below(self, other: "Place") -> str | None:
        """The prefix, with a slash at its end, that a place below this one has here; None elsewhere."""
        if not self.holds(other) or self == other:
            return None
        if self.folder is not None and other.folder is not None:
            return f"{other.folder.relative_to(self.folder).as_posix()}/"
        return f"{other.url[len(self.url) + 1 :]}/"


def place_of(name: str, given: str) -> Place:
    """Read an address.

    >>> place_of("SOURCE", "s3://bucket/photos/").url
    's3://bucket/photos'

    Args:
        name: how the argument is called, for the error.
        given: a path, or `s3://`, `gs://`, `az://` or `file://` and so on.

    Raises:
        UsageError: an unknown scheme, credentials in the address, or no bucket.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", given)
    if scheme is None:
        if not given:
            raise UsageError(f"{name} must be a folder or an address, got nothing")
        return _folder(Path(given))
    try:
        kind, parts = scheme[1].lower(), urlsplit(given)
    except ValueError:
        raise UsageError(f"{name}: expected an address, as in s3://bucket/photos") from None
    if "@" in parts.netloc or parts.query or parts.fragment or parts.password:
        raise UsageError(
            f"{name}: expected an address of scheme, bucket and prefix alone; credentials belong in the "
            "environment, and nothing may follow a ? or #"
        )
    if kind == "file":
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{name}: expected file:///path, got a host in {printable(given)}")
        return _folder(Path(unquote(parts.path)))
    if kind not in SCHEMES:
        raise UsageError(
            f"{name}: unknown scheme {printable(kind)}://; use a folder, file://, s3://, gs:// or az://"
        )
    path = parts.path.removeprefix("/").rstrip("/")
    if path and not is_plain(path):
        raise UsageError(f"{name}: expected a prefix without empty parts, . and .., got {printable(given)}")
    if not parts.netloc:
        raise UsageError(f"{name}: expected a bucket, as in {kind}://bucket/photos, got {printable(given)}")
    return Place(f"{SCHEMES[kind]}://{parts.netloc}" + (f"/{path}" if path else ""))


def _folder(path: Path) -> Place:
    place = Path(os.path.realpath(path))
    return Place(str(place), place)


class Folder:
    """A `Store` that is a folder.

    Args:
        root: which; made when something is put there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """See `Store.entries`."""
        for place, folders, names in os.walk(self.root / prefix):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for name in sorted(names):
                path = Path(place, name)
                if name.startswith(".") or not path.is_file():
                    continue
                with suppress(FileNotFoundError):  # it has gone since
                    yield self.entry(path)

    def entry(self, path: Path) -> Entry:
        """What is known of a file below."""
        status = path.stat()
        version = f"{status.st_mtime_ns:x}-{status.st_size:x}"
        return Entry(
            path.relative_to(self.root).as_posix(), status.st_size, version, status.st_mtime_ns / 1e9
        )

    def local(self, key: str) -> Path | None:
        """See `Store.local`."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        if not is_plain(key):
            raise OutputError(f"{printable(key)}: expected a path below the folder; nothing is done there")
        return self.root / key

    def fetch(self, key: str, path: Path) -> None:
        """See `Store.fetch`."""
        shutil.copyfile(self._path(key), path)

    def deliver(self, path: Path, key: str) -> None:
        """See `Store.deliver`."""
        target = self._path(key)
        require_inside(target, self.root)
        make_folder(target.parent)
        if target.is_dir():
            raise OutputError(f"{shown(target)}: expected a file to write, but this is a folder")
        try:
            path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise OutputError(f"{shown(target)}: cannot write there: {error.strerror}") from error
            remove_leftovers(target)  # of a worker that was killed here
            with replacing(target) as partial:
                shutil.copyfile(path, partial)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        return self._path(key).read_bytes()

    def ranges(self, key: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Store.ranges`."""
        parts: list[bytes] = []
        with self._path(key).open("rb") as file:
            for start, stop in spans:
                file.seek(start)
                parts.append(file.read(stop - start))
        return parts

    def write(self, key: str, content: bytes) -> None:
        """See `Store.write`."""
        target = self._path(key)
        make_folder(target.parent)
        with replacing(target) as partial:
            partial.write_bytes(content)

    def remove(self, keys: Iterable[str]) -> None:
        """See `Store.remove`."""
        for key in keys:
            path = self._path(key)
            path.unlink(missing_ok=True)
            for above in path.parents:  # a store has no empty folders
                if above == self.root or any(above.iterdir()):
                    break
                above.rmdir()

    def clear(self, prefix: str) -> None:
        """See `Store.clear`."""
        folder = self._path(prefix.rstrip("/"))
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # if it is empty now
                folder.parent.rmdir()


def is_plain(key: str) -> bool:
    """Whether a key is a path that stays below where it begins."""
    parts = key.split("/")
    return all(part not in ("", ".", "..") for part in parts) and not PurePosixPath(key).is_absolute()


class Bucket:
    """A `Store` in an object store.

    Args:
        store: obstore's, with its prefix.
        name: for errors.
    """

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name = store, printable(name)

    @contextmanager
    def _told(self, what: str, key: str) -> Generator[None]:
        """What the store says of a failure, in one line without secrets."""
        try:
            yield
        except CamixerError:
            raise
        except Exception as error:  # noqa: BLE001 - obstore's own, of many kinds
            what = f"{what} {printable(key)}".rstrip()
            raise DownloadError(f"{self._name}: {what} failed: {one_line(error)}") from None

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """See `Store.entries`."""
        import obstore

        with self._told("listing", prefix):
            for batch in obstore.list(self._store, prefix.rstrip("/") or None, chunk_size=1000):
                for each in batch:
                    key = str(each["path"])
                    if any(part.startswith(".") for part in key.split("/")):
                        continue
                    modified = each["last_modified"].timestamp()
                    version = str(each["e_tag"] or f"{modified:.0f}").strip('"')
                    yield Entry(key, int(each["size"]), version, modified)

    def local(self, key: str) -> Path | None:
        """See `Store.local`."""
        return None

    def fetch(self, key: str, path: Path) -> None:
        """See `Store.fetch`."""
        import obstore

        with self._told("reading", key):
            got = obstore.get(self._store, key)
            size, have = int(got.meta["size"]), 0
            with path.open("wb") as file:
                for chunk in got.stream(min_chunk_size=2**20):
                    have += file.write(chunk)
        if have != size:
            raise DownloadError(f"{self._name}: {printable(key)}: expected {size} bytes, got {have}")

    def deliver(self, path: Path, key: str) -> None:
        """See `Store.deliver`."""
        import obstore

        chunk = max(PART, -(-path.stat().st_size // MOST_PARTS))
        with self._told("writing", key):
            obstore.put(self._store, key, path, chunk_size=chunk, max_concurrency=4)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        import obstore

        with self._told("reading", key):
            return bytes(obstore.get(self._store, key).bytes())

    def ranges(self, key: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Store.ranges`."""
        import obstore

        starts, ends = [list(each) for each in zip(*spans, strict=True)]
        with self._told("reading", key):
            return [bytes(each) for each in obstore.get_ranges(self._store, key, starts=starts, ends=ends)]

    def write(self, key: str, content: bytes) -> None:
        """See `Store.write`."""
        import obstore

        with self._told("writing", key):
            obstore.put(self._store, key, content, chunk_size=PART)

    def remove(self, keys: Iterable[str]) -> None:
        """See `Store.remove`."""
        import obstore

        for key in keys:
            with self._told("removing", key), suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def clear(self, prefix: str) -> None:
        """See `Store.clear`."""
        self.remove([each.key for each in self.entries(prefix)])
