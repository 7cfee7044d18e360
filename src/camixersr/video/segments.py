"""Where a film is cut, and the work folder: a manifest, and a file for each segment that is done.

A film takes hours. Each segment is decoded, enlarged and encoded by itself, and starts with a frame that
needs none before it. So a killed run loses one segment, several processes share a film, and the result is
the same stream however often it was interrupted.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from camixersr.errors import OutputError, UsageError
from camixersr.image.files import make_folder, replacing, shown
from camixersr.image.locks import hold
from camixersr.video.film import Film

__all__ = ["Segment", "WorkFolder", "begun_with", "cut", "folder_for", "picture_file", "routes_folder"]


MANIFEST = "manifest.json"
"""Name of the record of the job in its work folder."""


@dataclass(frozen=True)
class Segment:
    """Some frames of a film that follow one another.

    Attributes:
        number: of the segment, from 0.
        first: number of its first frame.
        stop: number after its last.
    """

    number: int
    first: int
    stop: int

    @property
    def frames(self) -> int:
        """How many it has."""
        return self.stop - self.first


def cut(film: Film, first: int, stop: int, seconds: float) -> list[Segment]:
    """Cut a film into segments: at keyframes where there are any, else wherever one gets long.

    Args:
        film: from `look`.
        first: number of the first frame.
        stop: number after the last.
        seconds: about how long a segment is.

    Returns:
        Segments that together have these frames.
    """
    wanted = max(1, round(seconds / film.time_base))
    keys = set(film.keys)
    edges = [first]
    while edges[-1] < stop:
        begin = film.times[edges[-1]]
        most = next((n for n in range(edges[-1] + 1, stop) if film.times[n] - begin > 1.5 * wanted), stop)
        near = [n for n in range(edges[-1] + 1, most) if film.times[n] - begin >= 0.5 * wanted]
        at_keys = [n for n in near if film.times[n] in keys]
        if most == stop and not (near and film.times[stop - 1] - begin > wanted):
            edges.append(stop)
            continue
        choices = at_keys or near or [most]
        edges.append(min(choices, key=lambda n: abs(film.times[n] - begin - wanted)))
    return [Segment(number, *both) for number, both in enumerate(pairwise(edges))]


def folder_for(target: Path, work: Path | None) -> Path:
    """Where a film's segments wait: `OUT.parts` beside the target, or in a folder of the user's."""
    return (target.parent if work is None else work) / f"{target.name}.parts"


def picture_file(folder: Path, segment: Segment) -> Path:
    """The encoded frames of a segment."""
    return folder / f"{segment.number:06}.mkv"


def routes_folder(folder: Path, segment: Segment) -> Path:
    """The folder of its route maps."""
    return folder / f"{segment.number:06}.routes"


def begun_with(folder: Path) -> dict[str, Any]:
    """The job that a work folder was begun with; empty if there is none."""
    return _read(folder / MANIFEST) or {}


class WorkFolder:
    """The folder of a film under way, held by one run at a time.

    Args:
        path: the folder; made if it is missing.
        job: everything that decides the result, as plain JSON values.
        resume: go on with what is there.
        overwrite: begin anew, whatever is there.

    Raises:
        UsageError: another job is there, or one that nobody asked to go on with.
        OutputError: the folder cannot be made, or another run holds it.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        self.path = path
        there = path.is_dir()
        if there and not resume and not overwrite:
            raise UsageError(
                f"{shown(path)}: an interrupted run is there; --resume goes on with it, --overwrite begins "
                "anew"
            )
        make_folder(path)
        self._lock = self._hold()
        try:
            self._begin(job, resume=resume)
        except BaseException:
            self._let_go(remove=not there)
            raise

    def _hold(self) -> Any:
        try:
            lock = (self.path / "lock").open("ab")
            hold(lock.fileno())
        except BlockingIOError:
            raise OutputError(f"{shown(self.path)}: another run works on this film; wait for it") from None
        except OSError as error:
            raise OutputError(
                f"{shown(self.path)}: cannot be written: {error.strerror or error}"
            ) from error
        return lock

    def _begin(self, job: Mapping[str, Any], *, resume: bool) -> None:
        manifest = self.path / MANIFEST
        before = _read(manifest) if resume else None
        if before is not None:
            other = [name for name in job if before.get(name) != job[name]]
            if other:
                raise UsageError(
                    f"{shown(self.path)}: belongs to a run with another {' and '.join(other)}; repeat that "
                    "command, or --overwrite begins anew"
                )
            for each in self.path.glob(".camixersr-*"):  # half a segment from a kill
                each.unlink(missing_ok=True)
            return
        for each in self.path.iterdir():
            if each.name != "lock":
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        _write(manifest, dict(job))

    def facts(self, segment: Segment) -> dict[str, Any] | None:
        """What is known of a segment that is done; None of any other."""
        facts, film = _read(self.path / f"{segment.number:06}.json"), picture_file(self.path, segment)
        if facts is None or not film.is_file() or film.stat().st_size != facts.get("bytes"):
            return None
        return facts

    def done(self, segment: Segment, facts: Mapping[str, Any]) -> None:
        """Say that a segment is done; its file is there."""
        size = picture_file(self.path, segment).stat().st_size
        _write(self.path / f"{segment.number:06}.json", {**facts, "bytes": size})

    def close(self, *, remove: bool) -> None:
        """Let another run have it, or remove it."""
        self._let_go(remove=remove)

    def _let_go(self, *, remove: bool) -> None:
        if remove and os.name == "posix":  # held to the last
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()
        if remove and os.name != "posix":
            shutil.rmtree(self.path, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text("utf-8"))
        return value if isinstance(value, dict) else None
    return None


def _write(path: Path, value: Mapping[str, Any]) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
