"""Which pictures there are: files, folders and patterns become a list of inputs."""

import glob
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camixersr.errors import ImageError
from camixersr.image.files import shown
from camixersr.image.formats import READABLE
from camixersr.runs.manifest import place_of, results_in

__all__ = ["STREAM", "Found", "find", "is_picture", "require_regular", "searched_folder"]

STREAM = Path("-")
"""Standard input, or standard output."""


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


def _is_pattern(path: Path) -> bool:
    return not os.path.lexists(path) and glob.has_magic(str(path))


def searched_folder(path: Path) -> Path | None:
    """The folder that an input has searched: itself, or the fixed part of a pattern; None for a file."""
    if path != STREAM and path.is_dir():
        return path
    if path == STREAM or not _is_pattern(path):
        return None
    fixed = next(number for number, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[:fixed])


def find(
    inputs: Sequence[Path], *, output: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> list[Found]:
    """Replace folders and patterns by the pictures in them, in alphabetical order.

    Folders are searched with all below them. Passed over are hidden files, links to folders, files
    without a picture's suffix, what is no regular file, the output folder, and results that a manifest
    records as made from a picture in the same folder: a run never enlarges its own results.

    Args:
        inputs: files, folders, patterns such as photos/**/*.jpg, or `STREAM`.
        output: folder of results, if it may lie inside an input.
        say: told what was passed over, though it looked like a picture.

    Returns:
        The inputs; a file that does not exist is left for its reader to complain about.

    Raises:
        ImageError: a folder or pattern without pictures.
    """
    found: list[Found] = []
    several = sum(each.is_dir() for each in inputs) > 1
    for each in inputs:
        folder = searched_folder(each)
        if each == STREAM:
            found.append(Found(STREAM, Path("stdin")))
        elif folder is None:
            found.append(Found(each, Path(each.name)))
        else:
            whole = each.is_dir()
            paths = _walk(each, output) if whole else _match(each, folder, output)
            below = list(_inputs(paths, folder, say))
            if not below:
                raise ImageError(
                    f"{shown(each)}: expected pictures in this folder, found none"
                    if whole
                    else f"{shown(each)}: expected a file or a pattern, but no picture matches it"
                )
            start = Path(folder.resolve().name) if several and whole else Path()
            found += [Found(path, start / path.relative_to(folder), True) for path in below]
    return found


def is_picture(name: str) -> bool:
    """Whether folders are searched for a file of that name: it is not hidden, and its suffix is known."""
    return not name.startswith(".") and Path(name).suffix.lower() in READABLE


def _barred(output: Path | None, folder: Path) -> Path | None:
    """The folder of results, if it lies below the one that is searched."""
    barred = output.resolve() if output is not None else None
    return None if barred == folder.resolve() else barred


def _walk(folder: Path, output: Path | None) -> Iterator[Path]:
    barred = _barred(output, folder)
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".") and (barred is None or Path(place, each).resolve() != barred)
        )
        yield from (Path(place, name) for name in sorted(names) if is_picture(name))


def _match(pattern: Path, folder: Path, output: Path | None) -> Iterator[Path]:
    barred = _barred(output, folder)
    for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))):  # noqa: PTH207 - any path
        inside = barred is not None and path.parent.resolve().is_relative_to(barred)
        if is_picture(path.name) and not path.is_dir() and not inside:
            yield path


def _inputs(paths: Iterator[Path], folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Those that can be read, and are no results of others."""
    root = os.path.realpath(folder)
    seen: set[Path] = set()
    results: dict[str, str] = {}
    passed: list[Path] = []
    for path in paths:
        for above in (path.parent, *path.parent.parents):
            if above in seen:
                break
            seen.add(above)
            results |= results_in(above)
            if above == folder:
                break
        source = results.get(place_of(path))
        if source is not None and Path(source).is_relative_to(root):
            passed.append(path)
        elif (what := _irregular(path)) is not None:
            say(f"{shown(path)}: is {what}, no regular file, and was passed over")
        else:
            yield path
    if passed:
        one = len(passed) == 1
        say(
            f"{shown(passed[0])}: is the result of another picture here, and was passed over"
            if one
            else f"{shown(folder)}: {len(passed)} results of other pictures here were passed over"
        )


def _irregular(path: Path) -> str | None:
    """What a path leads to that cannot be read like a file; None for a file, or if it leads nowhere."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None  # its reader complains
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def require_regular(path: Path) -> None:
    """Refuse what would be waited for, or never ends.

    Raises:
        ImageError: no regular file is there.
    """
    what = _irregular(path)
    if what is not None:
        raise ImageError(
            f"{shown(path)}: expected a regular file, found {what}; use - to read from standard input"
        )
