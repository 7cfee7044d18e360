"""What holds for all pictures of a run, and what is known of one on its way."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from camixersr.enlarge.disk import Streamed
from camixersr.errors import OutputError
from camixersr.image.files import shown
from camixersr.image.panorama import Panorama
from camixersr.image.part import Part
from camixersr.image.picture import Picture
from camixersr.image.stream import Look
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Cost
from camixersr.runs.targets import Job

__all__ = ["Existing", "Settings", "Work", "refuse_existing"]

Existing = Literal["refuse", "overwrite", "skip", "resume", "resume or overwrite", "resume or skip"]
"""What to do about results that exist."""


def refuse_existing(path: Path) -> None:
    """Refuse to replace a file.

    Raises:
        OutputError: it exists.
    """
    if path.is_file() or path.is_symlink():
        raise OutputError(f"{shown(path)}: exists already; add --overwrite to replace it")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for all pictures of a run beside its options.

    Attributes:
        existing: what to do about results that exist.
        keep_begun: leave what was computed of a picture that is stopped.
        folder: of the results, where there are several.
        spill: folder for the intermediate files of large pictures; None for the output's.
        max_pixels: larger inputs are refused.
        compare: where the page goes that compares the only result with its picture; None for nowhere.
    """

    existing: Existing
    keep_begun: bool
    folder: Path | None
    spill: Path | None
    max_pixels: int
    compare: Path | None = None

    @property
    def resuming(self) -> bool:
        """Whether to go on with what another run began."""
        return self.existing.startswith("resume")

    @property
    def overwriting(self) -> bool:
        """Whether to replace what exists."""
        return self.existing.endswith("overwrite")

    @property
    def skipping(self) -> bool:
        """Whether to leave out what exists."""
        return self.existing.endswith("skip")


@dataclass
class Work:
    """A picture on its way.

    Attributes:
        job: what is to be done; its target gets its last suffix when the picture is known.
        there: what is known of a result that was there already; None if it is to be made.
        low: the picture, decoded.
        whole: height and width of the picture, where `low` is a part of it for a preview.
        part: that part; None likewise.
        seen: instead, the head of one that is streamed.
        high: the result, if it is in memory.
        streamed: the result, if it went to the disk.
        cost: of the network; None if it was not needed.
        computer: of the model that was chosen.
        restored: the picture is restored before it is enlarged.
        panorama: what the picture shows of a sphere; None for a flat one.
        sha256: of the input, where it is recorded.
        quality: of a JPEG, as far as it tells.
        seconds: so far.
        began: when it would have begun if it had not waited, of `time.monotonic`.
        pages: that are enlarged.
        notes: for a person.
    """

    job: Job
    there: dict[str, Any] | None = None
    low: Picture | None = None
    whole: tuple[int, int] | None = None
    part: Part | None = None
    seen: Look | None = None
    high: Picture | None = None
    streamed: Streamed | None = None
    cost: Cost | None = None
    computer: Computer | None = None
    restored: bool = False
    panorama: Panorama | None = None
    sha256: str = ""
    quality: int | None = None
    seconds: float = 0.0
    began: float = 0.0
    pages: int = 1
    notes: list[str] = field(default_factory=list[str])
