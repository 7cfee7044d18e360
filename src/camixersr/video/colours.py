"""Planes of a decoded frame to RGB pixels, and back, by a matrix and a range that are named.

libswscale reorders planes here, and nothing else. Chroma is resampled, and the matrix computed, in float32:
libswscale's deep RGB has its white at 65280 of 65535, and its default is BT.601 whatever a frame says.

Signal values stay as they are. PQ and HLG are not made linear: a network sees the coded values of an HDR
film, as it sees those of an SDR one.
"""

from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from camixersr.errors import ImageError, UsageError
from camixersr.video.chroma import Siting, planar, reduced, spread

__all__ = ["MATRICES", "UNSPECIFIED", "Colours", "depth_of"]

UNSPECIFIED = 2
"""What FFmpeg calls a tag that is not there."""

BT2020 = 9
"""Its primaries, as FFmpeg numbers them."""

RGB = 0
"""The matrix of frames that are RGB."""

MATRICES = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
"""Shares of red and blue in luma (Kr, Kb), by FFmpeg's number of the matrix (ITU-T H.273, table 4)."""

HOW = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
"""The same on every machine."""

HD = 720
"""Lines from which a film without a named matrix is taken for BT.709, as players do; below it is BT.601."""


def depth_of(pixel_format: str) -> int:
    """Bits a channel of a pixel format.

    >>> depth_of("yuv420p10le")
    10
    """
    return max(part.bits for part in av.VideoFormat(pixel_format).components)


@dataclass(frozen=True)
class Colours:
    """How a film codes colours.

    Attributes:
        matrix: FFmpeg's number; of `MATRICES`, or `RGB`.
        full: luma takes all codes, and not 16 to 235 (of 8 bits).
        primaries: FFmpeg's number; a tag that is handed on.
        transfer: likewise; 16 is PQ, 18 HLG.
        assumed: the film does not name its matrix: it follows from its lines.
        siting: where samples of chroma lie, if there are fewer than of luma.
    """

    matrix: int
    full: bool
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    assumed: bool = False
    siting: Siting = "left"

    @classmethod
    def of(
        cls,
        pixel_format: str,
        height: int,
        *,
        matrix: int,
        range_: int,
        primaries: int,
        transfer: int,
        siting: Siting = "left",
    ) -> "Colours":
        """What a stream says of its colours, with what it leaves out.

        Args:
            pixel_format: FFmpeg's name.
            height: lines.
            matrix: FFmpeg's number; so are the others.
            range_: 0 where it is not said, 1 limited, 2 full.
            primaries: a tag.
            transfer: a tag.
            siting: where samples of chroma lie.

        Raises:
            ImageError: a matrix that cannot be computed.
        """
        if av.VideoFormat(pixel_format).is_rgb or pixel_format.startswith("pal8"):
            return cls(RGB, range_ != ColorRange.MPEG, primaries, transfer, siting=siting)
        full = range_ == ColorRange.JPEG or pixel_format.startswith("yuvj")
        if matrix == UNSPECIFIED:
            return cls(1 if height >= HD else 6, full, primaries, transfer, assumed=True, siting=siting)
        if matrix not in MATRICES:
            raise ImageError(
                "expected the colour matrix of BT.601, BT.709, BT.2020 (non-constant luminance), FCC or "
                f"SMPTE 240M, got number {matrix} of H.273; convert the film with another program first"
            )
        return cls(matrix, full, primaries, transfer, siting=siting)

    def stored(self, pixel_format: str) -> "Colours":
        """The same colours in a pixel format: RGB gets a matrix where luma and chroma are stored."""
        if av.VideoFormat(pixel_format).is_rgb:
            return replace(self, matrix=RGB, full=True)
        if self.matrix == RGB:
            return replace(self, matrix=9 if self.primaries == BT2020 else 1, full=False)
        return self

    def pixels(self, frame: VideoFrame) -> NDArray[Any]:
        """A frame as RGB pixels.

        Args:
            frame: as it was decoded.

        Returns:
            H x W x 3: uint8 of a frame of up to 8 bits, else uint16. What lies outside the nominal range is
            clipped to it. Transparency is left out.
        """
        kind, bits = frame.format, depth_of(frame.format.name)
        dtype = np.uint8 if bits <= 8 else np.uint16
        top = np.float32(np.iinfo(dtype).max)
        if kind.is_rgb or kind.name.startswith("pal8"):
            if bits <= 8:
                return _arrays(_reformat(frame, "rgb24"), packed=3)[0]
            deep = _reformat(frame, "gbrp16le" if not kind.name.startswith("gbrp") else kind.name)
            green, blue, red = _arrays(deep)[:3]
            values = np.stack((red, green, blue), axis=-1)
            if bits == 16:
                return values.astype(np.uint16)
            return _rounded(values * np.float32(65535 / ((1 << bits) - 1)), dtype, top)
        grey = len(kind.components) - kind.name.startswith("ya") == 1
        if grey:
            luma = _arrays(frame)[0]
            red = green = blue = self._unit(luma, bits)
        else:
            planes, across, down = planar(kind, bits)
            y, u, v = _arrays(_reformat(frame, planes))[:3]
            kr, kb = MATRICES[self.matrix]
            luma = self._unit(y, bits)
            height, width = y.shape
            cb, cr = (
                spread(self._signed(each, bits), height, width, across, down, self.siting)
                for each in (u, v)
            )
            red = luma + np.float32(2 * (1 - kr)) * cr
            blue = luma + np.float32(2 * (1 - kb)) * cb
            green = (luma - np.float32(kr) * red - np.float32(kb) * blue) / np.float32(1 - kr - kb)
        return _rounded(np.stack((red, green, blue), axis=-1) * top, dtype, top)

    def frame(self, pixels: NDArray[Any], pixel_format: str) -> VideoFrame:
        """RGB pixels as a frame to encode.

        Args:
            pixels: H x W x 3, uint8 or uint16.
            pixel_format: FFmpeg's name: of planes of YUV, or RGB.

        Returns:
            The frame, its colour tags set.

        Raises:
            UsageError: a pixel format that frames cannot be made of.
        """
        kind, bits = av.VideoFormat(pixel_format), depth_of(pixel_format)
        top, most = np.float32((1 << bits) - 1), np.float32(np.iinfo(pixels.dtype).max)
        height, width = pixels.shape[:2]
        if kind.is_rgb:
            dtype = np.uint8 if bits <= 8 else np.uint16
            values = pixels
            if top != most:
                values = _rounded(pixels.astype(np.float32) * (top / most), dtype, top)
            if bits <= 8:
                made = _reformat(_made("rgb24", height, width, [values.reshape(height, -1)]), pixel_format)
            elif pixel_format.startswith("gbrp"):
                made = _made(pixel_format, height, width, [values[:, :, place] for place in (1, 2, 0)])
            else:
                raise UsageError(
                    f"frames are not made in {pixel_format}; use gbrp10le, gbrp12le or gbrp16le"
                )
        else:
            colour: NDArray[Any] = pixels.astype(np.float32) / most
            kr, kb = MATRICES[self.matrix]
            red, green, blue = (colour[:, :, place] for place in range(3))
            luma: NDArray[Any] = (
                np.float32(kr) * red + np.float32(1 - kr - kb) * green + np.float32(kb) * blue
            )
            cb: NDArray[Any] = (blue - luma) / np.float32(2 * (1 - kb))
            cr: NDArray[Any] = (red - luma) / np.float32(2 * (1 - kr))
            name, across, down = planar(kind, bits)
            chroma = [
                self._code_signed(reduced(each, across, down, self.siting), bits) for each in (cb, cr)
            ]
            made = _reformat(_made(name, height, width, [self._code(luma, bits), *chroma]), pixel_format)
        self._tag(made)
        return made

    def _tag(self, frame: VideoFrame) -> None:
        is_rgb = frame.format.is_rgb
        frame.colorspace = RGB if is_rgb else self.matrix
        frame.color_range = ColorRange.JPEG if self.full or is_rgb else ColorRange.MPEG
        frame.color_primaries, frame.color_trc = self.primaries, self.transfer

    def _span(self, bits: int, codes: int) -> tuple[np.float32, np.float32]:
        """The code of nothing, and how many codes the span has."""
        scale = 1 << (bits - 8)
        if self.full:
            return np.float32(0), np.float32((1 << bits) - 1)
        return np.float32(16 * scale), np.float32(codes * scale)

    def _unit(self, codes: NDArray[Any], bits: int) -> NDArray[np.float32]:
        """Luma in [0, 1]."""
        black, span = self._span(bits, 219)
        return (codes.astype(np.float32) - black) / span

    def _signed(self, codes: NDArray[Any], bits: int) -> NDArray[np.float32]:
        """Chroma in [-0.5, 0.5]."""
        _, span = self._span(bits, 224)
        return (codes.astype(np.float32) - np.float32(1 << (bits - 1))) / span

    def _code(self, luma: NDArray[np.float32], bits: int) -> NDArray[Any]:
        black, span = self._span(bits, 219)
        return _rounded(
            luma * span + black, np.uint8 if bits <= 8 else np.uint16, np.float32((1 << bits) - 1)
        )

    def _code_signed(self, chroma: NDArray[np.float32], bits: int) -> NDArray[Any]:
        _, span = self._span(bits, 224)
        middle = np.float32(1 << (bits - 1))
        return _rounded(
            chroma * span + middle, np.uint8 if bits <= 8 else np.uint16, np.float32((1 << bits) - 1)
        )


def _rounded(values: NDArray[np.float32], dtype: Any, top: np.float32) -> NDArray[Any]:
    np.add(values, np.float32(0.5), out=values)
    np.floor(values, out=values)
    return np.clip(values, np.float32(0), top, out=values).astype(dtype)


def _reformat(frame: VideoFrame, name: str) -> VideoFrame:
    """Another layout of the same colours: the matrix and the range stay."""
    if frame.format.name == name:
        return frame
    range_ = ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG
    if frame.format.is_rgb or frame.format.name.startswith(("pal8", "yuvj")):
        range_ = ColorRange.JPEG
    return VideoReformatter().reformat(
        frame,
        format=name,
        src_colorspace=1,
        dst_colorspace=1,
        src_color_range=range_,
        dst_color_range=range_,
        interpolation=HOW,
        threads=1,
    )


def _arrays(frame: VideoFrame, packed: int = 1) -> list[NDArray[Any]]:
    """The planes of a frame, without what fills their lines; of 8 bits uint8, else uint16."""
    wide = depth_of(frame.format.name) > 8
    dtype = np.dtype("<u2" if wide else "u1")
    arrays: list[NDArray[Any]] = []
    for plane in frame.planes:
        lines = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        lines = lines[:, : plane.width * packed]
        arrays.append(lines if packed == 1 else lines.reshape(plane.height, plane.width, packed))
    return arrays


def _made(name: str, height: int, width: int, planes: list[NDArray[Any]]) -> VideoFrame:
    """A frame of planes."""
    frame = VideoFrame(width, height, name)
    for plane, values in zip(frame.planes, planes, strict=True):
        _fill(plane, values)
    return frame


def _fill(plane: VideoPlane, values: NDArray[Any]) -> None:
    dtype = values.dtype
    lines = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    lines[:, : values.shape[1]] = values
