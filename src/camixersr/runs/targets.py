"""Where results go: every target is decided, and told apart from all other files, before the work."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camixersr.errors import OutputError, UsageError
from camixersr.image.files import shown
from camixersr.image.formats import READABLE, WRITABLE, kind_of, suffix_for
from camixersr.runs.find import STREAM, Found, searched_folder
from camixersr.runs.manifest import place_of

__all__ = [
    "Job",
    "default_folder",
    "is_folder",
    "jobs_for",
    "require_apart",
    "require_inside",
    "with_suffix",
    "without_results",
]


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


def default_folder(inputs: Sequence[Path], *, size: str, template: str) -> Path | None:
    """Where results go that are given no place: beside the only folder, or beside each file.

    >>> default_folder([Path("/tmp")], size="x4", template="{stem}_{size}")
    PosixPath('/tmp_x4')

    Args:
        inputs: as given.
        size: what was asked for, in names, such as "x4".
        template: of names; see `Options.name`.

    Returns:
        The folder's own name by the template, in the folder above it; None if no folder was given.

    Raises:
        UsageError: there are several inputs, and some are folders.
    """
    folders = [folder for folder in map(searched_folder, inputs) if folder is not None]
    if not folders:
        return None
    folder = folders[0].resolve()
    if len(inputs) > 1 or not folder.name:
        raise UsageError("results of several folders or patterns need a folder; name one with -o")
    found = Found(folder, Path(folder.name))
    return folder.with_name(_named(template, found, size, folder.name))


def is_folder(option: str, place: str | os.PathLike[str], *, many: bool) -> bool:
    """Whether a place for results is a folder: one that exists, `name/`, or any place for several.

    Args:
        option: its name, for the error.
        place: as given.
        many: there are several inputs.

    Raises:
        UsageError: it is a file, or named like one, and there are several inputs.
    """
    path = Path(place)
    if path.is_dir() or str(place).endswith(("/", os.sep)):
        return True
    if many and (path == STREAM or path.suffix.lower() in READABLE or path.exists()):
        raise UsageError(f"{option} must be a folder for several inputs, got {shown(path)}")
    return many


def jobs_for(
    inputs: Sequence[Found],
    *,
    output: Path | None,
    folder: bool,
    size: str,
    template: str = "{stem}_{size}",
    suffix: str = "",
    route_map: Path | None = None,
    route_folder: bool = False,
) -> list[Job]:
    """Decide every target before anything is computed.

    Args:
        inputs: from `find`.
        output: a file for one input, a folder, `STREAM`, or None: beside the inputs.
        folder: it is a folder, see `is_folder`.
        size: what was asked for, in names, such as "x4".
        template: of names; see `Options.name`.
        suffix: of the format asked for; empty for the source's.
        route_map: as `output`.
        route_folder: as `folder`.

    Returns:
        The jobs.
    """

    def job(found: Found, *, full: bool) -> Job:
        stem = found.relative.stem
        if full:
            stem += f"_{found.relative.suffix[1:]}"
        name = _named(template, found, size, stem)
        settled, target = bool(suffix), output
        if output is None or folder:
            place = found.source.parent if output is None else output / found.relative.parent
            target = place / f"{name}{suffix or _suffix(found)}"
        elif output != STREAM:
            settled = True
        assert target is not None
        routes = route_map
        if routes is not None and route_folder:
            routes = routes / found.relative.parent / f"{name}_routes.png"
        return Job(found, target, settled, routes)

    jobs = [job(found, full=False) for found in inputs]
    counts = Counter(each.target for each in jobs)
    return [
        job(each.found, full=True) if counts[each.target] > 1 and each.found.searched else each
        for each in jobs
    ]


def without_results(jobs: Sequence[Job], *, named: bool, say: Callable[[str], None]) -> list[Job]:
    """Leave out inputs that are where the result of another one goes.

    Args:
        jobs: from `plan`.
        named: also those that were named; else only those that were found in folders.
        say: told what was left out.
    """
    targets = {place_of(job.target): job for job in jobs}
    kept: list[Job] = []
    for job in jobs:
        other = targets.get(place_of(job.source)) if job.source != STREAM else None
        if other is not None and other is not job and (named or job.found.searched):
            say(f"{shown(job.source)}: is where the result of {shown(other.source)} goes; passed over")
        else:
            kept.append(job)
    return kept


def require_apart(jobs: Sequence[Job], named: Mapping[str, Path | None]) -> None:
    """Refuse one file for two things: inputs, results, route maps and whatever else is named.

    Args:
        jobs: all of them.
        named: other files that are read or written: what they are, and where, if there are any.

    Raises:
        UsageError: two are one.
    """
    taken: dict[str | tuple[int, int], str] = {}

    def keys_of(path: Path) -> list[str | tuple[int, int]]:
        keys: list[str | tuple[int, int]] = [place_of(path)]
        with contextlib.suppress(OSError, ValueError):  # by another spelling it is the same file
            status = path.stat()
            keys += [(status.st_dev, status.st_ino)] if status.st_ino else []
        return keys

    def claim(path: Path, words: str) -> None:
        keys = keys_of(path)
        other = next((taken[key] for key in keys if key in taken), None)
        if other is not None:
            raise UsageError(f"{shown(path)}: would be both {other} and {words}; give one another name")
        taken.update(dict.fromkeys(keys, words))

    for path in {job.source for job in jobs} - {STREAM}:
        taken.update(dict.fromkeys(keys_of(path), "an input"))
    for job in jobs:
        if job.target == STREAM:
            continue
        place, words = place_of(job.target), f"the result of {shown(job.source)}"
        if place in taken and place != place_of(job.source):  # of itself: its reader complains
            raise UsageError(
                f"{shown(job.target)}: would be both {taken[place]} and {words}; rename one, or name a "
                "folder for the results with -o"
            )
        taken[place] = words
    for job in jobs:  # the suffix may still change, but not to what is somebody else's
        if not job.settled and job.target != STREAM:
            for suffix in WRITABLE:
                place = place_of(job.target.with_suffix(suffix))
                taken.setdefault(place, f"the result of {shown(job.source)}")
    for job in jobs:
        if job.route_map is not None:
            claim(job.route_map, f"the route map of {shown(job.source)}")
    for words, path in named.items():
        if path is not None:
            claim(path, words)


def require_inside(target: Path, folder: Path) -> None:
    """Refuse a target that a link takes out of the output folder.

    Raises:
        OutputError: it does.
    """
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{shown(target)}: a link leads out of {shown(folder)}; nothing is written there")


def with_suffix(job: Job, suffix: str, taken: Iterable[Path]) -> Job:
    """The job with another format, if nobody else writes there.

    Raises:
        OutputError: somebody does.
    """
    target = job.target.with_name(job.target.name.removesuffix(job.target.suffix) + suffix)
    if target != job.target and target in set(taken):
        raise OutputError(f"{shown(target)}: another input is written there; rename one")
    return replace(job, target=target)
