"""Films in the service: what the server asks of them, and how the process of a device does one.

The server itself loads no PyAV: heads and posters are read in the process for pictures, films are enlarged
in that of a device. Both may end over a hostile file, and the server goes on.
"""

import hashlib
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camixersr.errors import CamixerError, MissingExtraError, OutputError, UsageError
from camixersr.extras import install_line
from camixersr.image.files import replacing
from camixersr.video.forms import FilmOptions
from camixersr.web.views import encoded, make_pyramid, shrunk

if TYPE_CHECKING:
    from camixersr.video.run import Done

__all__ = ["SPARE", "enlarge", "expected_bytes", "film_head", "frames_asked", "poster", "require_films"]

SPARE = 64 * 2**20
"""Bytes of the disk that stay free, so that the queue can be written."""

FACTS = "film.json"
"""What is known of a film that is done, before it is said to be: a kill then costs no hours."""


def require_films() -> None:
    """Refuse films where nothing reads them.

    Raises:
        MissingExtraError: the extra is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingExtraError(f"films need an extra where the service runs; {install_line('video')}")


def film_head(path: Path, *, max_pixels: int) -> dict[str, Any]:
    """What the head of a film says.

    Args:
        path: the film.
        max_pixels: of a frame.

    Returns:
        `kind`, `width`, `height` (upright), `pages`, and `film` with `codec`, `frames` and `seconds`.

    Raises:
        ImageError: no film, or its frames are too large.
    """
    from camixersr.video.stills import head

    found = head(path, max_pixels=max_pixels)
    return {
        "kind": found.container.partition(",")[0],
        "width": found.width,
        "height": found.height,
        "pages": 1,
        "film": {"codec": found.codec, "frames": found.frames, "seconds": found.seconds},
    }


def poster(path: Path) -> bytes:
    """A small picture of a film.

    Raises:
        ImageError: nothing of it can be decoded.
    """
    from camixersr.video.stills import poster as read

    return encoded(shrunk(read(path)))


def frames_asked(film: Mapping[str, Any], asked: FilmOptions) -> tuple[float | None, float]:
    """How much of a film is to be done.

    Args:
        film: what its head says, see `film_head`.
        asked: which part of it.

    Returns:
        About how many frames, None where the head does not say; and which share of the film.
    """
    settings, seconds = asked.settings, film["seconds"]
    end = settings.end if settings.preview is None else settings.start + settings.preview
    if not seconds:
        return film["frames"], 1.0
    share = max(0.0, min(seconds, seconds if end is None else end) - settings.start) / seconds
    return None if film["frames"] is None else share * film["frames"], share


def expected_bytes(size: int, larger: float, share: float) -> int:
    """About how much of the disk a film takes while it is made: its segments, and the result beside them.

    A result is taken to spend as many bytes on a pixel as the film does.

    Args:
        size: bytes of the film.
        larger: pixels of a frame of the result, of those of the film.
        share: of the film that is done.
    """
    return round(2 * size * larger * share)


def enlarge(
    folder: Path,
    file: str,
    asked: FilmOptions,
    *,
    suffix: str,
    most: int,
    hear: Callable[[float, float, float], None],
    remark: Callable[[str], None],
    plain: Callable[[str], str],
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Do a film, or go on with it where the last process was ended.

    Args:
        folder: of the job.
        file: name of the film there.
        asked: what is to be done.
        suffix: of the result.
        most: pixels of all frames of the result together; more are refused.
        hear: told frames that are done, of how many, and how many of those an earlier process has done.
        remark: told lines for a person.
        plain: takes the names of folders out of a line.
        cancelled: whether to stop.

    Returns:
        The outcome: `facts`, `notes`, `result`, `views`.

    Raises:
        CamixerError: whatever is wrong with the film, its options or the disk. Nothing is left then.
    """
    source, out = folder / file, folder / "out"
    target = out / f"input_{asked.options.size.label(4)}{suffix}"
    known = _known(folder / FACTS, target)
    if known is None:
        _tidy(out, folder)
        done = _make(source, target, asked, most=most, hear=hear, remark=remark, cancelled=cancelled)
        known = _facts(done, asked, plain)
        with replacing(folder / FACTS) as partial:
            partial.write_text(json.dumps(known), encoding="utf-8")
    facts, notes = known["facts"], list(known["notes"])
    with target.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    result = {"file": target.name, "bytes": known["bytes"], "sha256": sha256}
    outcome: dict[str, Any] = {"facts": facts, "notes": notes, "result": result}
    try:
        outcome["views"] = _views(folder, source, target, facts, beside=asked.settings.preview is not None)
    except Exception as error:  # noqa: BLE001 - the result is there; only the page cannot show it
        notes.append(f"cannot be shown in the page: {plain(str(error))}")
    return outcome


def _make(
    source: Path,
    target: Path,
    asked: FilmOptions,
    *,
    most: int,
    hear: Callable[[float, float, float], None],
    remark: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> "Done":
    try:
        from camixersr.video.run import enlarge_film
        from camixersr.video.segments import folder_for
    except ImportError as error:
        require_films()
        raise MissingExtraError(f"films cannot be read here: {error}") from error
    parts = folder_for(target, None)
    left, before, looked = 0, 0, 0.0

    def begun(frames: int, earlier: int) -> None:
        nonlocal left, before
        left, before = frames, earlier
        hear(before, before + left, before)

    def stop() -> bool:
        nonlocal looked
        if time.monotonic() - looked > 1.0:
            looked = time.monotonic()
            if shutil.disk_usage(target.parent).free < SPARE:
                raise OutputError("the disk of the service is full; nothing of the film was kept")
        return cancelled()

    def run(*, resume: bool) -> "Done":
        return enlarge_film(
            source,
            target,
            options=asked.options,
            settings=replace(asked.settings, resume=resume, overwrite=not resume),
            say=remark,
            begun=begun,
            progress=lambda frames: hear(before + frames, before + left, before),
            cancel=stop,
            most=most,
        )

    try:
        try:
            return run(resume=True)
        except UsageError:
            if not parts.is_dir():
                raise
            return run(resume=False)  # begun by another version, or with another model
    except (CamixerError, OSError, MemoryError):
        shutil.rmtree(parts, ignore_errors=True)
        raise


def _facts(done: "Done", asked: FilmOptions, plain: Callable[[str], str]) -> dict[str, Any]:
    height, width = done.size
    if asked.settings.preview is not None:
        width *= 2  # side by side
    facts = done.facts
    del facts["notes"]
    facts |= {
        "input": done.source.name,
        "output": done.target.name,
        "high_size": [width, height],
    }
    size = done.target.stat().st_size
    return {"facts": facts, "notes": [plain(note) for note in done.notes], "bytes": size}


def _known(path: Path, target: Path) -> dict[str, Any] | None:
    """What is known of a film that was done already when its process was ended."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if target.stat().st_size == known.get("bytes") else None
    except (OSError, ValueError):
        return None


def _tidy(out: Path, folder: Path) -> None:
    """Remove half a result; segments stay."""
    out.mkdir(exist_ok=True)
    for path in [*out.iterdir(), folder / FACTS]:
        if path.is_file():
            path.unlink()


def _views(
    folder: Path, source: Path, target: Path, facts: Mapping[str, Any], *, beside: bool
) -> dict[str, Any]:
    """A frame of the film and of the result, as pyramids."""
    import numpy as np

    from camixersr.image.encode import write
    from camixersr.image.picture import Picture
    from camixersr.video.stills import still

    middle = facts["frames"] // 2
    shown = [("result", target, middle)]
    if not beside:  # it has both already
        shown.append(("input", source, facts["first"] + middle))
    views: dict[str, Any] = {}
    for name, path, number in shown:
        picture = folder / f"{name}.png"
        try:
            write(picture, Picture(np.asarray(still(path, number))))
            views[name] = make_pyramid(picture, folder / f"{name}.tif")
        finally:
            picture.unlink(missing_ok=True)
    return views
