"""`camixersr video`: a film in, an enlarged film out."""

import json
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from camixersr.cli.bars import Bars
from camixersr.cli.flags import FIRST, options_of, output_parameter, with_flags
from camixersr.cli.stopping import Stopping, command
from camixersr.cli.talk import is_quiet, say
from camixersr.errors import CancelledError, MissingExtraError, OutputError, UsageError
from camixersr.extras import install_line
from camixersr.image.files import replacing, require_writable, shown

__all__ = ["seconds_of", "video"]

NOT_OF_FRAMES = frozenset(
    {
        "preview", "routing", "seconds", "memory", "alpha", "projection", "salvage", "color", "format",
        "quality", "subsampling", "compression", "lossless", "strip", "name",
    }
)  # fmt: skip
"""Options of pictures that films do not have, or have in another form."""

FILM = Group("The film that is written", sort_key=-1)
PART = Group("Which part of the film", sort_key=-1)
RUN = Group("Runs that take hours", sort_key=99)
Flag = Parameter(negative=())
Kinds = Literal["audio", "subtitle", "attachment"]


def seconds_of(text: str, option: str) -> float:
    """Seconds of "90", "1:30", "0:01:30.5".

    >>> seconds_of("1:30", "--start"), seconds_of("2.5", "--end"), seconds_of("1:00:00", "--end")
    (90.0, 2.5, 3600.0)

    Args:
        text: what was written.
        option: where, for the error.

    Raises:
        UsageError: no time.
    """
    if not re.fullmatch(r"(?:(?:\d+:)?\d{1,2}:)?\d+(?:\.\d+)?", text):
        raise UsageError(
            f"{option} must be seconds, or hours:minutes:seconds such as 0:01:30, got {text!r}"
        )
    total = 0.0
    for part in text.split(":"):
        total = 60.0 * total + float(part)
    return total


@with_flags(leave_out=NOT_OF_FRAMES, restore="off")
def video(
    film: Annotated[Path, Parameter(name="FILM")],
    /,
    *,
    output: Annotated[Path | None, output_parameter] = None,
    overwrite: Annotated[bool, Parameter(negative=(), group=FIRST)] = False,
    resume: Annotated[bool, Parameter(negative=(), group=FIRST)] = False,
    codec: Annotated[Literal["h264", "h265", "av1", "prores", "ffv1"] | None, Parameter(group=FILM)] = None,
    crf: Annotated[int | None, Parameter(group=FILM)] = None,
    preset: Annotated[str | None, Parameter(group=FILM)] = None,
    pixel_format: Annotated[str | None, Parameter(group=FILM)] = None,
    without: Annotated[list[Kinds] | None, Parameter(group=FILM, negative=())] = None,
    interlaced: Annotated[Literal["refuse", "deinterlace", "keep"], Parameter(group=FILM)] = "refuse",
    salvage: Annotated[bool, Parameter(negative=(), group=FILM)] = False,
    start: Annotated[str | None, Parameter(group=PART)] = None,
    end: Annotated[str | None, Parameter(group=PART)] = None,
    preview: Annotated[float | None, Parameter(group=PART)] = None,
    workers: Annotated[int, Parameter(group=RUN)] = 1,
    segment: Annotated[float, Parameter(group=RUN)] = 2.0,
    work: Annotated[Path | None, Parameter(group=RUN)] = None,
    route_map: Annotated[Path | None, Parameter(group=RUN)] = None,
    json_: Annotated[Path | None, Parameter(name="--json", group=RUN)] = None,
    given: Any = None,
) -> int:
    """Enlarge a film. Sound, subtitles, chapters and every frame's time stay as they are.

    Each frame comes out as `camixersr upscale` makes it. HDR stays HDR. See docs/video.md.

    Parameters
    ----------
    film
        The film: MKV, MP4, MOV, WebM and whatever else FFmpeg reads.
    output
        Film to write. Its suffix names the container: .mkv, .mp4, .m4v, .mov or .webm. Default: NAME_x4
        beside the film.
    overwrite
        Replace a film that exists, and begin an interrupted run anew.
    resume
        Go on with an interrupted run that had the same options.
    codec
        Default: h264 for 8 bits, h265 for more, av1 for .webm. prores is for editing, ffv1 is lossless.
    crf
        Quality: smaller is better and larger. Default: 16 for h264, 18 for h265, 24 for av1.
    preset
        How long the encoder may take, in its own words. Default: medium for h264 and h265, 6 for av1.
    pixel_format
        FFmpeg's name, such as yuv444p10le. Default: 4:2:0 as deep as the film (prores: 4:2:2, ffv1: RGB).
    without
        Leave out audio, subtitle or attachment streams.
    interlaced
        What to do with an interlaced film. deinterlace makes whole frames of its fields. keep takes its
        frames as they are.
    salvage
        Take what there is of a film that is damaged or cut short, instead of refusing it.
    start
        Begin here: seconds, or hours:minutes:seconds.
    end
        End here.
    preview
        Make only so many seconds, with bicubic interpolation on the left and the result on the right.
    workers
        Processes that share the film, a segment at a time.
    segment
        Seconds of a segment. An interrupted run loses at most one segment for each worker.
    work
        Folder for the finished segments. Default: OUT.parts beside the output.
    route_map
        Folder for a picture of each frame that shows where attention went.
    json_
        Also write the facts of the summary as JSON.
    """
    options = options_of(given)
    try:
        from camixersr.video.run import Settings, enlarge_film
        from camixersr.video.segments import folder_for
    except ImportError as error:
        if getattr(error, "name", "") != "av":
            raise
        raise MissingExtraError(f"films need an extra; {install_line('video')}") from error
    target = output or film.with_name(f"{film.stem}_{options.size.label(4)}{_suffix(film)}")
    settings = Settings(
        codec=codec,
        crf=crf,
        preset=preset,
        pixel_format=pixel_format,
        start=0.0 if start is None else seconds_of(start, "--start"),
        end=None if end is None else seconds_of(end, "--end"),
        preview=preview,
        interlaced=interlaced,
        without=frozenset(without or ()),
        segment=segment,
        workers=workers,
        route_maps=route_map,
        work=work,
        salvage=salvage,
        resume=resume,
        overwrite=overwrite,
    )
    if json_ is not None:
        require_writable(json_)
    shower = _Shower(film)
    stopping = Stopping(shower.say)
    try:
        with Bars(1) as shower.bars, stopping:
            done = enlarge_film(
                film,
                target,
                options=options,
                settings=settings,
                say=shower.say,
                begun=shower.begun,
                progress=shower,
                cancel=stopping,
            )
    except (CancelledError, KeyboardInterrupt):
        if shower.frames is None:
            raise KeyboardInterrupt from None
        _say_how_to_go_on()
        return 130
    except OutputError:  # a full disk, for example
        if shower.frames is not None and folder_for(target, work).is_dir():
            say("finished segments are kept; --resume goes on with them")
        raise
    except SystemExit:  # SIGTERM, or the terminal has gone
        if shower.frames is not None:
            _say_how_to_go_on()
        raise
    if json_ is not None:
        with replacing(json_) as partial:
            partial.write_text(json.dumps(done.facts, indent=2) + "\n")
    if not is_quiet():
        spared = f", {done.repeated} of them as the one before" if done.repeated else ""
        say(
            f"{shown(target)}: {done.size[1]} x {done.size[0]}, {done.frames} frames{spared}, "
            f"{100 * done.attention_share:.0f} % attention, {done.seconds:.1f} s"
        )
    return 0


def _suffix(film: Path) -> str:
    return film.suffix if film.suffix.lower() in (".mkv", ".mp4", ".m4v", ".mov", ".webm") else ".mkv"


def _say_how_to_go_on() -> None:
    print("camixersr: stopped; finished segments are kept; to go on:", file=sys.stderr)
    print(f"  {command('--resume')}", file=sys.stderr)


class _Shower:
    """Shows how far a film is."""

    bars: Bars | None = None
    frames: int | None = None
    """To compute; None before that is known."""

    def __init__(self, film: Path) -> None:
        self._name = shown(film.name)
        self._began = 0.0

    def say(self, line: str) -> None:
        """Print a line, above the bars."""
        if self.bars is None:
            say(line)
        elif not is_quiet():
            self.bars.say(line)

    def begun(self, frames: int) -> None:
        """Be told how many frames there are to compute."""
        self.frames, self._began = frames, time.monotonic()
        if self.bars is not None:
            self.bars.begin(self._name)

    def __call__(self, done: float) -> None:
        """Be told how many of them are done."""
        if self.bars is None or not self.frames:
            return
        elapsed = time.monotonic() - self._began
        pace = f", {done / elapsed:.2f} fps" if elapsed > 1.0 and done > 0.0 else ""
        self.bars.rename(f"{self._name}: frame {min(self.frames, int(done) + 1)} of {self.frames}{pace}")
        self.bars(round(1000 * done), 1000 * self.frames)
