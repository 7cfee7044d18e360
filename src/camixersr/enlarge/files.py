"""A file enlarged into another file: held in memory, page by page, or from disk to disk."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path

from camixersr.backends.protocol import AUTO_WHOLE
from camixersr.enlarge.disk import enlarge_file
from camixersr.enlarge.enlarge import Cancel, Steps
from camixersr.enlarge.kinds import File
from camixersr.enlarge.options import Options
from camixersr.enlarge.pages import deadline_of, enlarge_pages
from camixersr.errors import ImageError, OutputError, UsageError
from camixersr.image.decode import read
from camixersr.image.degradation import quality_of
from camixersr.image.encode import check_writable, write_pages
from camixersr.image.files import shown
from camixersr.image.formats import format_of
from camixersr.image.panorama import Panorama
from camixersr.image.part import Part, preview_of
from camixersr.image.picture import MAX_PIXELS, Picture
from camixersr.image.stream import Look, look
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Cost, Progress
from camixersr.inference.deadline import missed

__all__ = ["HELD", "Written", "head_of_streamed", "refuse_held", "upscale_file", "why_held"]

HELD = 2048 * 2048
"""Largest picture, in pixels, whose transparency goes through the model, in memory."""

OF_THE_UPSCALER = frozenset(
    ("model", "routing", "tile", "batch", "device", "backend", "precision", "format", "name")
)
"""Options that an upscaler, or the name of a file, has settled already."""


@dataclass(frozen=True)
class Written:
    """What came of a file.

    Attributes:
        target: the file that was made.
        low_size: height and width of the picture that was read, upright.
        high_size: of the one that was written.
        cost: of the network, for the first page; None if it was not needed.
        notes: what was changed or could not be kept, in words.
    """

    target: Path
    low_size: tuple[int, int]
    high_size: tuple[int, int]
    cost: Cost | None
    notes: tuple[str, ...]


def why_held(seen: Look, options: Options) -> str:
    """What keeps a picture from being streamed, in words; empty if nothing does.

    Args:
        seen: its head.
        options: how it is to be enlarged.
    """
    layout = seen.layout
    if options.preview:
        return "a preview is not"
    if layout.dtype == "float32":
        return "floating point needs the whole picture"
    if layout.alpha and options.alpha == "model" and layout.height * layout.width <= HELD:
        return "transparency enlarged by the model needs the whole picture; add --alpha bicubic"
    if seen.pages > 1:
        return "one of several pages cannot be"
    return ""


def head_of_streamed(
    source: Path,
    options: Options,
    sized: Callable[[int, int], tuple[tuple[int, int], int]],
    *,
    tile: int | str,
    spill: Path | None,
    max_pixels: int,
    named: str = "{}",
) -> Look | None:
    """The head of a picture that is to be enlarged from disk to disk; None for one that is held in memory.

    Args:
        source: the picture.
        options: how it is to be enlarged.
        sized: gives the size of the result of a low height and width, and the model's scale.
        tile: low pixels a tile, 0 for pictures whole, or "auto".
        spill: folder for intermediate files, if one was named.
        max_pixels: larger pictures are refused.
        named: how options are called in errors, such as "--{}".

    Raises:
        UsageError: an option can only be kept by streaming, and this picture cannot be streamed.
    """
    given = {"memory": options.memory, "spill": spill}
    must = next((name for name, value in given.items() if value is not None), "")
    try:
        seen = look(source, color=options.colours, max_pixels=max_pixels, salvage=options.salvage)
    except ImageError:
        return None  # the second decoder may know better, or say what is wrong
    height, width = seen.layout.height, seen.layout.width
    size, scale = sized(height, width)
    if scale > 1 and size[0] <= height and size[1] <= width:
        return None  # it is only reduced, which needs neither network nor tiles
    why = why_held(seen, options)
    if why and must:
        raise refuse_held(named.format(must), why)
    large = (tile != 0 and height * width > AUTO_WHOLE) or options.seconds is not None
    return seen if not why and (must or large) else None


def refuse_held(option: str, why: str) -> UsageError:
    """What is said of an option that only streaming keeps, where a picture cannot be streamed."""
    return UsageError(f"{option} is for pictures that are computed in tiles from the disk; {why}")


def upscale_file(
    computer: Computer,
    source: File,
    target: str | Path,
    options: Options,
    *,
    overwrite: bool = False,
    spill: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    restorer: Callable[[Options, int | None], Computer | None] | None = None,
) -> Written:
    """Enlarge a file, as `camixersr upscale` does with one.

    Args:
        computer: the model.
        source: the picture, or its encoded content.
        target: the file to make; its suffix decides the format.
        options: how; those that the computer has settled are left as they are.
        overwrite: replace a file that exists.
        spill: folder for the intermediate files of a large picture, instead of the target's.
        max_pixels: larger pictures are refused.
        progress: told, in this thread, how far the network is.
        cancel: asked whether to stop.
        turn: makes what is entered while the network is used.
        restorer: gives what restores a JPEG of some quality, or another picture (None), if that is wanted.

    Returns:
        What came of it.

    Raises:
        CamixerError: as for `Upscaler.upscale_file`.
    """
    target = Path(target)
    file = None if isinstance(source, bytes) else Path(source)
    for each in fields(options):
        if each.name in OF_THE_UPSCALER and getattr(options, each.name) != each.default:
            raise UsageError(
                f"expected options that decide how a file is enlarged, got {each.name}, which the upscaler "
                "or the target has settled; leave it out"
            )
    options.write.require_use(format_of(target.suffix).kind)
    if file is not None and file.exists() and target.exists() and file.samefile(target):
        raise OutputError(f"{shown(target)}: is the input itself; name another file")
    if not overwrite and (target.is_file() or target.is_symlink()):
        raise OutputError(f"{shown(target)}: exists already; give overwrite=True to replace it")
    steps, began = Steps(progress, cancel), time.monotonic()
    steps.check()
    before = None if restorer is None else restorer(options, quality_of(source))
    seen = None
    if file is not None:
        seen = head_of_streamed(
            file,
            options,
            lambda *low: (
                options.size.of(*low, default=computer.scale, reach=computer.scale),
                computer.scale,
            ),
            tile=computer.tile,
            spill=spill,
            max_pixels=max_pixels,
        )
    if seen is not None and file is not None:
        own = threading.get_ident()

        def told(done: int, total: int) -> None:
            if threading.get_ident() == own:  # not of the encoder, which begins anew in its thread
                steps(done, total)

        with turn():
            streamed = enlarge_file(
                computer,
                file,
                target,
                options,
                size=options.size.of(
                    seen.layout.height, seen.layout.width, default=computer.scale, reach=computer.scale
                ),
                restorer=before,
                spill=spill,
                max_pixels=max_pixels,
                progress=told,
                cancel=cancel,
            )
        if progress is not None:
            progress(1, 1)
        low, high = seen.layout, streamed.layout
        notes = [*seen.notes, *streamed.notes]
        if low.alpha and options.alpha == "model":
            notes.append("its transparency was enlarged bicubically: too large for the model")
        sizes = (low.height, low.width), (high.height, high.width)
        return Written(target, *sizes, streamed.cost, tuple(dict.fromkeys(notes)))

    def page(number: int) -> Picture:
        return read(
            source, color=options.colours, max_pixels=max_pixels, page=number, salvage=options.salvage
        )

    first = page(0)
    whole = (first.height, first.width)
    if options.preview:
        first, _ = preview_of(first)
        options = replace(options, projection="flat")
    low_size, high_size = (first.height, first.width), _size(computer, first, options, whole)
    check_writable(target, height=high_size[0], width=high_size[1])
    several = first.pages > 1 and not options.preview and target.suffix.lower() in (".tif", ".tiff")
    count = first.pages if several else 1
    notes = [
        *first.notes,
        *([f"only the first of {first.pages} pages is read"] if first.pages > count else []),
    ]
    costs: list[Cost | None] = []

    def choose(low: Picture, panorama: Panorama | None) -> tuple[Computer, tuple[int, int]]:
        return computer, _size(computer, low, options, whole if low is first else (low.height, low.width))

    def pages() -> Generator[Picture]:
        for cost, high in enlarge_pages(
            first,
            page,
            options,
            count=count,
            choose=choose,
            notes=notes,
            progress=progress,
            cancel=cancel,
            turn=turn,
            restorer=before,
            until=lambda low, high, left: deadline_of(options, target, low, high, began, left),
        ):
            costs.append(cost)
            yield high

    said = write_pages(target, pages(), options.write, count=count)
    said += missed(options.seconds, time.monotonic() - began)
    if progress is not None:
        progress(1, 1)
    return Written(target, low_size, high_size, costs[0], tuple(dict.fromkeys((*notes, *said))))


def _size(
    computer: Computer, picture: Picture, options: Options, whole: tuple[int, int]
) -> tuple[int, int]:
    """Height and width of a picture's result; it may be a part of a `whole` one."""
    high = options.size.of(*whole, default=computer.scale, reach=computer.scale)
    part = Part(0, 0, picture.height, picture.width).scaled(whole, high)
    return part.height, part.width
