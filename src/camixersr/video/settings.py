"""What is done with a film beside enlarging its frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from camixersr.errors import UsageError, ValueRangeError
from camixersr.video.encode import CodecName

__all__ = ["Interlaced", "Settings"]

Interlaced = Literal["refuse", "deinterlace", "keep"]

SEGMENT = 2.0
"""Seconds of a segment: what a kill costs at most, against a keyframe that costs some bytes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is done with a film beside enlarging its frames.

    Attributes:
        codec: of the result; None: H.264 of 8 bits, H.265 of more, AV1 for WebM.
        crf: constant rate factor; None: the codec's usual one here.
        preset: of the encoder; None: likewise.
        pixel_format: FFmpeg's name; None: as deep as the film.
        start: seconds of the source's own clock, from its first frame on, where the result begins.
        end: where it ends; None for the film's end.
        preview: only so many seconds, bicubic interpolation beside the result; None for the film.
        interlaced: what is done with an interlaced film.
        without: kinds of streams that are not copied.
        segment: seconds of a segment, about.
        workers: processes; each computes segments by itself.
        route_maps: folder for a picture of each frame's routing; None for none.
        work: folder for the work folder; None: beside the target.
        salvage: take what there is of a damaged film.
        resume: go on with what an interrupted run left.
        overwrite: replace the target.
    """

    codec: CodecName | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    start: float = 0.0
    end: float | None = None
    preview: float | None = None
    interlaced: Interlaced = "refuse"
    without: frozenset[str] = frozenset()
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
