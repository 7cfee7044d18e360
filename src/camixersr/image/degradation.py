"""What a restoration network undoes: JPEG compression, or Gaussian noise.

A model at scale 1 carries the `Degradation` that it was trained on. The functions make such pictures,
for training and for scores; they are pure: the same picture, amount and draw give the same bytes.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camixersr.errors import ValueRangeError

__all__ = ["RANGES", "Degradation", "add_noise", "compress", "quality_of"]

Kind = Literal["jpeg", "noise"]

RANGES: dict[Kind, tuple[float, float]] = {"jpeg": (1, 95), "noise": (0, 100)}
"""What may be asked for: libjpeg's quality, and the standard deviation of noise in 8-bit steps."""

_LUMA = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    ]
)

AMOUNTS: dict[Kind, str] = {"jpeg": "quality", "noise": "sigma"}


@dataclass(frozen=True)
class Degradation:
    """One kind of degradation, and how much of it.

    >>> Degradation("jpeg", 10, 60).about
    'JPEG artefacts, quality 10 to 60'

    Attributes:
        kind: "jpeg" or "noise".
        least: smallest quality (libjpeg's, 1 to 95) or sigma (in 8-bit steps, 0 to 100).
        most: largest.

    Raises:
        ValueRangeError: no such kind, or the amounts are out of range or order.
    """

    kind: Kind
    least: float
    most: float

    def __post_init__(self) -> None:
        if self.kind not in RANGES:
            raise ValueRangeError(f"expected a degradation of {' or '.join(RANGES)}, got {self.kind!r}")
        bottom, top = RANGES[self.kind]
        if not bottom <= self.least <= self.most <= top:
            raise ValueRangeError(
                f"expected a range of {self.amount} within {bottom:g} to {top:g}, got "
                f"{self.least:g} to {self.most:g}"
            )

    @property
    def amount(self) -> str:
        """What the two numbers are: "quality" or "sigma"."""
        return AMOUNTS[self.kind]

    @property
    def about(self) -> str:
        """In a few words."""
        what = "JPEG artefacts" if self.kind == "jpeg" else "Gaussian noise"
        span = f"{self.least:g}" if self.least == self.most else f"{self.least:g} to {self.most:g}"
        return f"{what}, {self.amount} {span}"

    def only(self, amount: float) -> "Degradation":
        """The same kind, always of one amount.

        Raises:
            ValueRangeError: the amount is out of range.
        """
        return Degradation(self.kind, amount, amount)

    def at(self, share: float) -> float:
        """The amount at a share of the range, 0 to 1.

        Sigma runs evenly. Quality runs as a geometric series, since 10 and 20 differ as much as 40
        and 80 do, and is whole.
        """
        if self.kind == "noise":
            return self.least + share * (self.most - self.least)
        return float(round(self.least * (self.most / self.least) ** share))

    def apply(self, image: NDArray[np.uint8], amount: float, seed: int = 0) -> NDArray[np.uint8]:
        """Degrade a picture.

        Args:
            image: H x W x 3, uint8 RGB.
            amount: quality or sigma.
            seed: of the noise.

        Returns:
            The same shape, uint8.
        """
        if self.kind == "jpeg":
            return compress(image, round(amount))
        return add_noise(image, amount, np.random.default_rng(seed))


def compress(image: NDArray[np.uint8], quality: int, *, full_chroma: bool = False) -> NDArray[np.uint8]:
    """Write a picture as a baseline JPEG and read it again (libjpeg, by Pillow).

    Args:
        image: H x W x 3, uint8 RGB.
        quality: libjpeg's, 1 to 95.
        full_chroma: 4:4:4 instead of 4:2:0, which halves the resolution of colour.

    Returns:
        The same shape, uint8.

    Raises:
        ValueRangeError: no such quality.
    """
    bottom, top = RANGES["jpeg"]
    if not bottom <= quality <= top:
        raise ValueRangeError(f"expected a JPEG quality of {bottom} to {top}, got {quality}")
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.save(file, "JPEG", quality=quality, subsampling=0 if full_chroma else 2)
    with Image.open(file) as stored:
        return np.array(stored.convert("RGB"))


def quality_of(source: str | Path | bytes) -> int | None:
    """The libjpeg quality that a JPEG file's table for luma comes nearest to, 1 to 100.

    Args:
        source: the file, or its content.

    Returns:
        The quality; None for a file that is no JPEG or cannot be read.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            tables: dict[int, list[int]] = getattr(picture, "quantization", {})
            table = np.array(tables[min(tables)], dtype=np.float64) if tables else None
    except (OSError, ValueError, SyntaxError):
        return None
    if table is None or table.size != 64:
        return None
    distances = [float(np.abs(_luma_table(quality) - table).sum()) for quality in range(1, 101)]
    return int(np.argmin(distances)) + 1


def _luma_table(quality: int) -> NDArray[np.float64]:
    """The table that libjpeg writes: the standard's (ISO/IEC 10918-1, K.1) scaled, row by row."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((_LUMA * percent + 50) // 100).clip(1, 255).astype(np.float64)


def add_noise(image: NDArray[np.uint8], sigma: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Add independent Gaussian noise to every pixel and channel, round to 8 bits and clip.

    Args:
        image: H x W x C, uint8.
        sigma: standard deviation, in 8-bit steps.
        random: where the noise is drawn from.

    Returns:
        The same shape, uint8.

    Raises:
        ValueRangeError: a negative sigma.
    """
    if sigma < 0:
        raise ValueRangeError(f"expected a sigma of at least 0, got {sigma:g}")
    noisy = image + sigma * random.standard_normal(image.shape, dtype=np.float32)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)
