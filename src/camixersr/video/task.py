"""One segment of a film: decoded, enlarged and encoded."""

import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.enlarge.options import Options
from camixersr.image.encode import write
from camixersr.image.files import make_folder
from camixersr.image.picture import Picture, in_8_bits
from camixersr.routemap import render
from camixersr.video.encode import Encoding, encode
from camixersr.video.film import Film, frames_of
from camixersr.video.frames import Frame, Frames, beside
from camixersr.video.segments import Segment, picture_file, routes_folder
from camixersr.video.settings import Settings

__all__ = ["Facts", "Task", "compute"]


@dataclass(frozen=True)
class Task:
    """All that a process needs to compute segments of a film.

    Attributes:
        film: from `camixersr.video.film.look`.
        options: how frames are enlarged.
        settings: what else is done.
        encoding: how they are encoded.
        size: height and width of an enlarged frame.
        folder: where segments go.
        segments: all of the film.
    """

    film: Film
    options: Options
    settings: Settings
    encoding: Encoding
    size: tuple[int, int]
    folder: Path
    segments: tuple[Segment, ...]

    @property
    def aspect(self) -> Fraction | None:
        """Width of a pixel of the result: the film's, unless frames are stretched."""
        film, (height, width) = self.film, self.size
        even = abs(width * film.height - height * film.width) <= max(film.height, film.width)
        if even:  # sides are whole pixels
            return film.aspect
        stretched = Fraction(film.width * height, film.height * width)
        return ((film.aspect or 1) * stretched).limit_denominator(10000)


@dataclass
class Facts:
    """What is known of a segment that is done.

    Attributes:
        times: of its frames, in ticks.
        repeated: frames that repeat the one before.
        reused: tiles that were those of the frame before.
        share: the sum of its frames' attention shares.
    """

    times: list[int]
    repeated: int = 0
    reused: int = 0
    share: float = 0.0

    @classmethod
    def of(cls, record: dict[str, Any] | None) -> "Facts":
        """Read them."""
        assert record is not None
        return cls(**{each.name: record[each.name] for each in fields(cls)})

    def add(self, frame: Frame) -> None:
        """Count a frame."""
        self.repeated += frame.repeated
        self.reused += 0 if frame.repeated else frame.reused
        self.share += frame.cost.attention_share if frame.cost else 0.0

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def compute(
    task: Task, frames: Frames, segment: Segment, progress: Callable[[float], None] = lambda frames: None
) -> Facts:
    """Compute a segment into its file.

    Args:
        task: the film.
        frames: what enlarges them.
        segment: of the film.
        progress: told how many frames are done, the part of one under way included.

    Raises:
        CancelledError: it is to stop.
        ImageError: the film is damaged here.
        OutputError: the file cannot be written.
    """
    film, settings = task.film, task.settings
    facts = Facts([])
    if settings.route_maps is not None:
        routes = routes_folder(task.folder, segment)
        shutil.rmtree(routes, ignore_errors=True)
        make_folder(routes)

    def made() -> Generator[tuple[int, NDArray[Any]]]:
        decoded = frames_of(
            film,
            segment.first,
            segment.stop,
            deinterlace=film.interlaced and settings.interlaced == "deinterlace",
            salvage=settings.salvage,
        )
        with closing(decoded):
            for done, each in enumerate(decoded):
                low = film.colours.pixels(each)

                def advanced(part: int, whole: int, done: int = done) -> None:
                    progress(done + part / max(1, whole))

                frame = frames(low, advanced)
                facts.add(frame)
                if settings.route_maps is not None:
                    place = routes_folder(task.folder, segment) / f"{segment.first + done:06}.png"
                    _draw_routes(place, frame, frames.computer.model.config.window)
                assert each.pts is not None
                facts.times.append(each.pts)
                yield each.pts, frame.high if settings.preview is None else beside(low, frame.high)
                progress(done + 1)

    height, width = task.size
    with closing(made()) as pictures:
        encode(
            picture_file(task.folder, segment),
            pictures,
            task.encoding,
            film=film,
            aspect=task.aspect,
            height=height,
            width=width if settings.preview is None else 2 * width,
        )
    return facts


def _draw_routes(path: Path, frame: Frame, window: int) -> None:
    """Write the route map of a frame; there is none where the network was not needed."""
    if frame.cost is None:
        return
    share = frame.cost.attention_share
    canvas = render(in_8_bits(frame.low), frame.cost.shares, side=window, attention_share=share)
    write(path, Picture(np.asarray(canvas)))
