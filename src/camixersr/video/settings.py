"""What is done with a film beside enlarging its frames."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from camixersr.errors import UsageError, ValueRangeError

__all__ = ["CodecName", "Interlaced", "Kinds", "Settings", "seconds_of"]

CodecName = Literal["h264", "h265", "av1", "prores", "ffv1"]
Interlaced = Literal["refuse", "deinterlace", "keep"]
Kinds = Literal["audio", "subtitle", "attachment"]

SEGMENT = 2.0
"""Seconds of a segment: what a kill costs at most, against a keyframe that costs some bytes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is done with a film beside enlarging its frames.

    The flags of `camixersr video` and the form of the service have their words from here.

    Attributes:
        codec: Default: h264 for 8 bits, h265 for more, av1 for .webm. prores is for editing, ffv1 is
            lossless.
        crf: Quality: smaller is better and larger. Default: 16 for h264, 18 for h265, 24 for av1.
        preset: How long the encoder may take, in its own words. Default: medium for h264 and h265, 6 for
            av1.
        pixel_format: FFmpeg's name, such as yuv444p10le. Default: 4:2:0 as deep as the film (prores:
            4:2:2, ffv1: RGB).
        start: Begin here: seconds, or hours:minutes:seconds.
        end: End here.
        preview: Make only so many seconds, with bicubic interpolation on the left and the result on the
            right.
        interlaced: What to do with an interlaced film. deinterlace makes whole frames of its fields. keep
            takes its frames as they are.
        without: Leave out audio, subtitle or attachment streams.
        segment: Seconds of a segment. An interrupted run loses at most one segment for each worker.
        workers: Processes that share the film, a segment at a time.
        route_maps: Folder for a picture of each frame that shows where attention went.
        work: Folder for the finished segments. Default: OUT.parts beside the output.
        salvage: Take what there is of a film that is damaged or cut short, instead of refusing it.
        resume: Go on with an interrupted run that had the same options.
        overwrite: Replace a film that exists, and begin an interrupted run anew.
    """

    codec: CodecName | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    start: float = 0.0
    end: float | None = None
    preview: float | None = None
    interlaced: Interlaced = "refuse"
    without: frozenset[Kinds] = frozenset()
    segment: float = SEGMENT
    workers: int = 1
    route_maps: Path | None = None
    work: Path | None = None
    salvage: bool = False
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.start < 0.0:
            raise ValueRangeError(f"--start must not be negative, got {self.start:g}")
        if self.end is not None and self.end <= self.start:
            raise ValueRangeError(f"--end must be after --start ({self.start:g} s), got {self.end:g} s")
        if self.preview is not None and not self.preview > 0.0:
            raise ValueRangeError(f"--preview must be positive, got {self.preview:g}")
        if self.preview is not None and self.end is not None:
            raise UsageError("--preview and --end both say where the result ends; give one of them")
        if not self.segment > 0.0:
            raise ValueRangeError(f"--segment must be positive, got {self.segment:g}")
        if self.workers < 1:
            raise ValueRangeError(f"--workers must be at least 1, got {self.workers}")
        if self.overwrite and self.resume:
            raise UsageError("--overwrite and --resume exclude each other; give one of them")

    def record(self) -> dict[str, Any]:
        """What of this decides frames, as plain JSON values."""
        return {
            "start": self.start,
            "end": self.end,
            "preview": self.preview,
            "interlaced": self.interlaced,
            "route_maps": self.route_maps is not None,
        }


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
    if not re.fullmatch(r"(?:(?:\d{1,9}:)?\d{1,2}:)?\d{1,9}(?:\.\d{1,9})?", text):
        raise UsageError(
            f"{option} must be seconds, or hours:minutes:seconds such as 0:01:30, got {text!r}"
        )
    total = 0.0
    for part in text.split(":"):
        total = 60.0 * total + float(part)
    return total
