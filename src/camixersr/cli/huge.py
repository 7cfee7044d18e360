"""What `camixersr upscale` does with pictures too large to hold: the streaming path, and its options."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camixersr.errors import UsageError

if TYPE_CHECKING:
    from camixersr.enlarge.disk import Say, Streamed
    from camixersr.inference.cost import Progress
    from camixersr.inference.upscaler import Upscaler

__all__ = [
    "HELD",
    "Budget",
    "enlarge_huge",
    "facts_of",
    "parse_size",
    "write_huge_route_map",
]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

HELD = 2048 * 2048
"""Largest picture, in pixels, whose transparency goes through the model, in memory."""

LARGEST_MAP = 2048
"""Longest side of a huge picture's route map, in pixels."""


@dataclass(frozen=True)
class Budget:
    """The options of `upscale` that limit what a picture may cost.

    Attributes:
        attention_ratio: as given, or the default.
        max_share: most windows that may be attended.
        seconds: a deadline, or None.
        memory: bytes, or None.
        spill: folder for intermediate files, or None.
        resume: go on with an interrupted run.
    """

    attention_ratio: float = 0.5
    max_share: float = 1.0
    seconds: float | None = None
    memory: int | None = None
    spill: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.attention_ratio <= 1.0:
            raise UsageError(f"--attention-ratio must lie in [0, 1], got {self.attention_ratio:g}")
        if not 0.0 <= self.max_share <= 1.0:
            raise UsageError(f"--max-share must lie in [0, 1], got {self.max_share:g}")
        if self.seconds is not None and not self.seconds > 0.0:
            raise UsageError(f"--seconds must be positive, got {self.seconds:g}")
        if self.spill is not None and not self.spill.is_dir():
            raise UsageError(f"--spill must be a folder that exists, got {self.spill}")

    @property
    def must_stream(self) -> str:
        """The option that only streaming can honour; empty if none was given."""
        given = {"--memory": self.memory, "--seconds": self.seconds, "--spill": self.spill}
        return next((name for name, value in given.items() if value is not None), "")


def parse_size(text: str, option: str) -> int:
    """Bytes of "2GB", "1.5 GiB", "800M" or "123456".

    >>> parse_size("1.5GB", "--memory"), parse_size("2 GiB", "--memory")
    (1500000000, 2147483648)

    Raises:
        UsageError: no such size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?)B?\s*", text.upper())
    if not found or found[2] not in _UNITS or float(found[1]) == 0.0:
        raise UsageError(f"{option} must be a size such as 2GB, 800MB or 1.5GiB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def enlarge_huge(
    upscaler: "Upscaler",
    source: Path,
    target: Path,
    budget: Budget,
    say: "Say",
    progress: "Progress",
    **how: Any,
) -> "Streamed":
    """See `camixersr.enlarge.disk.enlarge_file`; `how` are more of its options."""
    from dataclasses import asdict

    from camixersr.enlarge.disk import Options, enlarge_file

    options = Options(**asdict(budget), **how)
    return enlarge_file(upscaler, source, target, options, say=say, progress=progress)


def write_huge_route_map(path: Path, source: Path, streamed: "Streamed", window: int) -> None:
    """Write a route map over a reduced copy of the picture."""
    import numpy as np

    from camixersr.image.codec import Picture, write
    from camixersr.image.stream import reduced
    from camixersr.routemap import render

    cost = streamed.cost
    side = max(1, min(window, LARGEST_MAP // max(cost.shares.shape)))
    layout = streamed.look.layout
    height, width = (max(1, length * side // window) for length in (layout.height, layout.width))
    canvas = render(
        reduced(source, height=height, width=width),
        cost.shares,
        side=side,
        attention_share=cost.attention_share,
        classes=cost.classes,
    )
    write(path, Picture(np.asarray(canvas)))


def facts_of(streamed: "Streamed") -> dict[str, Any]:
    """What the JSON of a streamed picture has beside the usual."""
    return {
        "tile": streamed.tile,
        "predicted_memory_bytes": streamed.predicted_memory_bytes,
        "resumed_tiles": streamed.resumed,
    }
