"""`camixersr video`: a film in, an enlarged film out."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from camixersr.cli.bars import Bars
from camixersr.cli.flags import FIRST, options_of, output_parameter, with_flags
from camixersr.cli.stopping import Stopping, command
from camixersr.cli.talk import is_quiet, say
from camixersr.errors import CancelledError, MissingExtraError, OutputError
from camixersr.extras import install_line
from camixersr.image.files import replacing, require_writable, shown
from camixersr.video.containers import suffix_for
from camixersr.video.forms import NOT_OF_FRAMES, words
from camixersr.video.settings import CodecName, Interlaced, Kinds, Settings, seconds_of

__all__ = ["video"]

FILM = Group("The film that is written", sort_key=-1)
PART = Group("Which part of the film", sort_key=-1)
RUN = Group("Runs that take hours", sort_key=99)
WORDS = words()


def _flag(field: str, group: Group) -> Parameter:
    return Parameter(group=group, negative=(), help=WORDS[field])


@with_flags(leave_out=NOT_OF_FRAMES, restore="off")
def video(
    film: Annotated[Path, Parameter(name="FILM")],
    /,
    *,
    output: Annotated[Path | None, output_parameter] = None,
    overwrite: Annotated[bool, _flag("overwrite", FIRST)] = False,
    resume: Annotated[bool, _flag("resume", FIRST)] = False,
    codec: Annotated[CodecName | None, _flag("codec", FILM)] = None,
    crf: Annotated[int | None, _flag("crf", FILM)] = None,
    preset: Annotated[str | None, _flag("preset", FILM)] = None,
    pixel_format: Annotated[str | None, _flag("pixel_format", FILM)] = None,
    without: Annotated[list[Kinds] | None, _flag("without", FILM)] = None,
    interlaced: Annotated[Interlaced, _flag("interlaced", FILM)] = "refuse",
    salvage: Annotated[bool, _flag("salvage", FILM)] = False,
    start: Annotated[str | None, _flag("start", PART)] = None,
    end: Annotated[str | None, _flag("end", PART)] = None,
    preview: Annotated[float | None, _flag("preview", PART)] = None,
    workers: Annotated[int, _flag("workers", RUN)] = 1,
    segment: Annotated[float, _flag("segment", RUN)] = 2.0,
    work: Annotated[Path | None, _flag("work", RUN)] = None,
    route_map: Annotated[Path | None, _flag("route_maps", RUN)] = None,
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
    json_
        Also write the facts of the summary as JSON.
    """
    options = options_of(given)
    try:
        from camixersr.video.run import enlarge_film
        from camixersr.video.segments import folder_for
    except ImportError as error:
        if getattr(error, "name", "") != "av":
            raise
        raise MissingExtraError(f"films need an extra; {install_line('video')}") from error
    target = output or film.with_name(f"{film.stem}_{options.size.label(4)}{suffix_for(film.name)}")
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

    def begun(self, frames: int, _: int) -> None:
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
