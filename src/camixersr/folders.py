"""Many pictures: which there are, where their results go, and a record of what has been done.

A run over folders can be killed at any moment. Every result appears whole or not at all, the record
(a manifest of JSON lines) says what was begun and what is done, and `--resume` does the rest.
"""

import contextlib
import glob
import hashlib
import json
import os
import string
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from camixersr.errors import CamixerError, ImageError, InputError, OutputError, UsageError
from camixersr.image.files import remove_leftovers, shown
from camixersr.image.formats import READABLE, WRITABLE, kind_of, suffix_for

__all__ = [
    "MANIFEST",
    "STREAM",
    "Failure",
    "Found",
    "Job",
    "Manifest",
    "check_template",
    "digest",
    "find",
    "plan",
    "require_inside",
    "run",
    "with_suffix",
]

STREAM = Path("-")
"""Standard input, or standard output."""

MANIFEST = "camixersr.jsonl"
"""Name of the record in the output folder."""

FIELDS = ("stem", "name", "size")
"""What a name template may contain: name without suffix, with it, and the size asked for (x4)."""


@dataclass(frozen=True)
class Found:
    """An input.

    Attributes:
        source: the file, or `STREAM`.
        relative: its path below the folder or pattern that found it; else its name.
        searched: it was found, not named.
    """

    source: Path
    relative: Path
    searched: bool = False


@dataclass(frozen=True)
class Job:
    """One picture and where its result goes.

    Attributes:
        found: the input.
        target: the file to make; a better suffix may be chosen when the picture is known, where
            `settled` is false.
        settled: the name was given by the user, or the format was.
        route_map: where a picture of attention goes, or None.
    """

    found: Found
    target: Path
    settled: bool
    route_map: Path | None = None

    @property
    def source(self) -> Path:
        """The input file."""
        return self.found.source


def find(inputs: Sequence[Path], *, output: Path | None = None) -> list[Found]:
    """Replace folders and patterns by the pictures in them, in alphabetical order.

    Folders are searched with all below them; hidden files, links to folders, files without a
    picture's suffix, and the output folder are passed over.

    Args:
        inputs: files, folders, patterns such as photos/**/*.jpg, or `STREAM`.
        output: folder of results, if it may lie inside an input.

    Returns:
        The inputs; a file that does not exist is left for its reader to complain about.

    Raises:
        ImageError: a folder or pattern without pictures.
    """
    found: list[Found] = []
    several = sum(each.is_dir() for each in inputs) > 1
    for each in inputs:
        if each == STREAM:
            found.append(Found(STREAM, Path("stdin")))
        elif each.is_dir():
            below = list(_walk(each, output))
            if not below:
                raise ImageError(f"{shown(each)}: expected pictures in this folder, found none")
            base = each.resolve().parent if several else each.resolve()
            start = each.resolve()
            found += [
                Found(path, (start / path.relative_to(each)).relative_to(base), True) for path in below
            ]
        elif not os.path.lexists(each) and glob.has_magic(str(each)):
            found += _match(each)
        else:
            found.append(Found(each, Path(each.name)))
    return found


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in READABLE


def _walk(folder: Path, output: Path | None) -> Iterable[Path]:
    barred = output.resolve() if output is not None else None
    if barred == folder.resolve():
        barred = None  # results beside the inputs: told apart by name
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".") and (barred is None or Path(place, each).resolve() != barred)
        )
        for name in sorted(names):
            if _is_picture(name):
                yield Path(place, name)


def _match(pattern: Path) -> list[Found]:
    parts = pattern.parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed]) if fixed else Path()
    matches = map(Path, sorted(glob.glob(str(pattern), recursive=True)))  # noqa: PTH207 - takes any path
    found = [each for each in matches if _is_picture(each.name) and each.is_file()]
    if not found:
        raise ImageError(f"{shown(pattern)}: expected a file or a pattern, but no picture matches it")
    return [Found(path, path.relative_to(root), True) for path in found]


def check_template(template: str) -> None:
    """Refuse a name template that cannot name files.

    Args:
        template: such as "{stem}_{size}"; the suffix is added to it.

    Raises:
        UsageError: unknown fields, a path, or no field that tells pictures apart.
    """
    try:
        fields = [
            (name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(template)
        ]
    except ValueError as error:
        raise UsageError(f"--name {template!r} is no template: {error}") from error
    used = [name for name, _, _ in fields if name is not None]
    plain = all(not spec and not conversion for _, spec, conversion in fields)
    known = ", ".join(f"{{{name}}}" for name in FIELDS)
    if any(name not in FIELDS for name in used) or not plain:
        raise UsageError(f"--name {template!r} may contain {known} and nothing else in braces")
    if not {"stem", "name"} & set(used):
        raise UsageError(
            f"--name {template!r} must contain {{stem}} or {{name}}, or all results are one file"
        )
    if "/" in template or os.sep in template or "\0" in template:
        raise UsageError(f"--name {template!r} must be a name, not a path; folders are mirrored")


def _named(template: str, found: Found, size: str, stem: str) -> str:
    return template.replace("{stem}", stem).replace("{name}", found.relative.name).replace("{size}", size)


def _suffix(found: Found) -> str:
    """The result's suffix, by the beginning of the file alone."""
    suffix = found.source.suffix.lower()
    head = b""
    if found.source != STREAM:
        with contextlib.suppress(OSError, ValueError):
            if found.source.is_file():
                with found.source.open("rb") as file:
                    head = file.read(64)
    if not head:
        return suffix if suffix in WRITABLE else ".png"
    return suffix_for(kind_of(head), height=1, width=1, depth="8", name_suffix=suffix)[0]


def plan(
    inputs: Sequence[Found],
    *,
    output: Path | None,
    size: str,
    template: str = "{stem}_{size}",
    suffix: str = "",
    route_map: Path | None = None,
) -> list[Job]:
    """Decide every target before anything is computed.

    Args:
        inputs: from `find`.
        output: a file for one input, a folder, `STREAM`, or None: beside the inputs.
        size: what was asked for, in names, such as "x4".
        template: of names; see `FIELDS`.
        suffix: of the format asked for; empty for the source's.
        route_map: as `output`.

    Returns:
        The jobs, each with a target of its own.

    Raises:
        UsageError: several inputs for one file, or two for the same target.
    """
    searched = any(each.searched for each in inputs)
    many = len(inputs) > 1 or searched
    if searched and output is None:
        raise UsageError("results of a folder or pattern need a folder of their own; name one with -o")
    for option, place in (("-o", output), ("--route-map", route_map)):
        if many and place is not None and (place == STREAM or (not place.is_dir() and place.suffix)):
            raise UsageError(f"{option} must be a folder for several inputs, got {shown(place)}")

    def job(found: Found, *, full: bool) -> Job:
        stem = found.relative.stem
        if full:
            stem += f"_{found.relative.suffix[1:]}"
        name = _named(template, found, size, stem)
        target = found.source.with_name(name) if output is None else output
        settled = bool(suffix)
        if output is None or (output != STREAM and (many or output.is_dir())):
            folder = found.source.parent if output is None else output / found.relative.parent
            target = folder / f"{name}{suffix or _suffix(found)}"
        elif output != STREAM:
            settled = True
        routes = route_map
        if routes is not None and (many or routes.is_dir()):
            routes = routes / found.relative.parent / f"{name}_routes.png"
        return Job(found, target, settled, routes)

    jobs = [job(found, full=False) for found in inputs]
    counts = Counter(each.target for each in jobs)
    jobs = [
        job(each.found, full=True) if counts[each.target] > 1 and each.found.searched else each
        for each in jobs
    ]
    seen: dict[Path, Path] = {}
    for each in jobs:
        for path in filter(None, (each.target, each.route_map)):
            if path in seen and path != STREAM:
                raise UsageError(
                    f"{shown(each.source)} and {shown(seen[path])} would both be written to {shown(path)}; "
                    "rename one"
                )
            seen[path] = each.source
    return jobs


def require_inside(target: Path, folder: Path) -> None:
    """Refuse a target that a link takes out of the output folder.

    Raises:
        OutputError: it does.
    """
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{shown(target)}: a link leads out of {shown(folder)}; nothing is written there")


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


class Manifest:
    """The record of runs into one folder: JSON lines, each about one picture.

    A line has `input` (below the folder searched), `output` (below the output folder), `result`
    ("begun", "done" or "failed"), and from its beginning on `sha256` of the input and `options`;
    when done `bytes` of the output and `seconds`, else `error`. The last line counts that says begun
    or done.

    Args:
        path: the file; made if it is missing, continued if it is there.

    Raises:
        OutputError: it cannot be written, or another run writes it now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: dict[str, dict[str, Any]] = {}
        self._ours: set[str] = set()
        try:
            self._file = path.open("ab+")
            self._lock()
            self._file.seek(0)
            content = self._file.read()
            for line in content.splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line cut by a kill
                    entry = json.loads(line)
                    self._learn(str(entry["input"]), str(entry["output"]), entry)
            if content and not content.endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise OutputError(f"{shown(path)}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Let another run have it."""
        self._file.close()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OutputError(
                f"{shown(self.path)}: another run writes into this folder; wait for it"
            ) from None
        except OSError:
            return  # a file system without locks

    def _learn(self, name: str, target: str, entry: dict[str, Any]) -> None:
        if entry.get("result") in ("begun", "done"):  # what failed changed nothing
            self._last[name] = entry
            self._ours.add(target)

    def note(self, job: Job, output: Path, **facts: Any) -> None:
        """Add a line.

        Args:
            job: about which picture.
            output: its target.
            facts: `result` and what else is known.
        """
        name, target = str(job.found.relative), os.path.relpath(output, self.path.parent)
        entry = {"input": name, "output": target, **facts}
        self._learn(name, target, entry)
        self._file.write(json.dumps(entry).encode("ascii") + b"\n")
        self._file.flush()

    def is_ours(self, output: Path) -> bool:
        """Whether a file was made, or begun, by a run that is recorded here."""
        return os.path.relpath(output, self.path.parent) in self._ours

    def clear(self, output: Path) -> None:
        """Remove what a killed run left of a picture it had begun."""
        if self.is_ours(output):
            remove_leftovers(output)

    def is_done(self, job: Job, sha256: str, options: Mapping[str, Any]) -> bool:
        """Whether this very picture has been enlarged with these very options, and is still there."""
        entry = self._last.get(str(job.found.relative), {})
        if (
            entry.get("result") != "done"
            or entry.get("sha256") != sha256
            or entry.get("options") != options
        ):
            return False
        output = self.path.parent / entry["output"]
        return output.is_file() and output.stat().st_size == entry.get("bytes")


Decoded = TypeVar("Decoded")
Computed = TypeVar("Computed")


@dataclass(frozen=True)
class Failure:
    """A picture that could not be done, why, and what was raised."""

    job: Job
    error: CamixerError
    cause: Exception


def _guarded(error: Exception, job: Job) -> CamixerError:
    """An error of ours, whatever went wrong."""
    if isinstance(error, CamixerError):
        return error
    what = "out of memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
    return InputError(f"{shown(job.source)}: {what}")


def run(
    jobs: Iterable[Job],
    *,
    decode: Callable[[Job], Decoded],
    compute: Callable[[Job, Decoded], Computed],
    encode: Callable[[Job, Computed], None],
    finished: Callable[[Job], None] = lambda _: None,
) -> list[Failure]:
    """Do all jobs: the next picture is decoded and the last one encoded while others are computed.

    An error ends its picture, never the run. Order, and so every result, is that of `jobs`.

    Args:
        jobs: what to do; the next is asked for when the one before it begins to be computed.
        decode: called in a thread of its own; of one picture at a time.
        compute: called in this thread, with what `decode` returned.
        encode: called in a thread of its own, with what `compute` returned; of one picture at a time.
        finished: called in this thread after each picture, good or bad.

    Returns:
        What failed, in order.
    """
    failures: list[Failure] = []
    writing: tuple[Job, Future[None]] | None = None

    def fail(job: Job, error: Exception) -> None:
        failures.append(Failure(job, _guarded(error, job), error))
        finished(job)

    def settle() -> None:
        if writing is not None:
            job, future = writing
            try:
                future.result()
            except Exception as error:  # noqa: BLE001 - one bad file never stops the rest
                fail(job, error)
            else:
                finished(job)

    with ThreadPoolExecutor(1, "decode") as reader, ThreadPoolExecutor(1, "encode") as writer:
        try:
            for job, decoded in _ahead(jobs, decode, reader):
                try:
                    computed = compute(job, decoded.result())
                except Exception as error:  # noqa: BLE001 - one bad file never stops the rest
                    settle()
                    writing = None
                    fail(job, error)
                    continue
                settle()
                writing = job, writer.submit(encode, job, computed)
            settle()
        except BaseException:
            for pool in (reader, writer):
                pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def _ahead(
    jobs: Iterable[Job], decode: Callable[[Job], Decoded], reader: ThreadPoolExecutor
) -> Generator[tuple[Job, Future[Decoded]]]:
    """Each job with what is decoded of it, while the next is being decoded."""
    last: tuple[Job, Future[Decoded]] | None = None
    for job in jobs:
        if last is not None:
            wait([last[1]])
        following = job, reader.submit(decode, job)
        if last is not None:
            yield last
        last = following
    if last is not None:
        wait([last[1]])
        yield last


def with_suffix(job: Job, suffix: str, taken: Iterable[Path]) -> Job:
    """The job with another format, if nobody else writes there.

    Raises:
        OutputError: somebody does.
    """
    target = job.target.with_name(job.target.name.removesuffix(job.target.suffix) + suffix)
    if target != job.target and target in set(taken):
        raise OutputError(f"{shown(target)}: another input is written there; rename one")
    return replace(job, target=target)
