"""A file's picture enlarged: what stands between its pixels and the network.

Depth, range, transparency, greyscale and any size are dealt with here, so that the network only
ever sees RGB in [0, 1], and the file comes back as it was, only larger.
"""

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.errors import ImageError, UsageError
from camixersr.image.alpha import bleed, keep_extremes
from camixersr.image.codec import Picture
from camixersr.image.dynamic_range import Curve
from camixersr.image.metadata import fitted
from camixersr.image.panorama import Panorama
from camixersr.image.resize import resize
from camixersr.inference.upscaler import Enlarged, Progress, Upscaler

__all__ = ["AlphaBy", "enlarge"]

AlphaBy = Literal["model", "bicubic"]


def enlarge(
    upscaler: Upscaler,
    picture: Picture,
    *,
    size: tuple[int, int] | None = None,
    attention_ratio: float = 0.5,
    max_share: float = 1.0,
    alpha_by: AlphaBy = "model",
    progress: Progress | None = None,
    panorama: Panorama | None = None,
) -> tuple[Enlarged | None, Picture]:
    """Enlarge a decoded file to any size its model reaches.

    Args:
        upscaler: with a model whose scale reaches `size`.
        picture: from `camixersr.image.codec.read`.
        size: height and width of the result; the model's own by default. Anything smaller is
            reduced to (bicubic, antialiased); what is no larger than the picture needs no network,
            unless it restores (scale 1).
        attention_ratio: gamma in [0, 1].
        max_share: as for `Upscaler.run`.
        alpha_by: what enlarges transparency; a model that restores leaves it alone.
        progress: told how far it is.
        panorama: what the picture shows of a sphere, see `camixersr.image.panorama.panorama_of`;
            None for a flat one.

    Returns:
        What it cost, None if the network was not needed; and the picture, of the same depth and
        channels, its metadata made true of its size.

    Raises:
        ImageError: the model does not reach the size.
        UsageError: unknown `alpha_by`.
        ValueRangeError: the ratio is out of range.
    """
    if alpha_by not in get_args(AlphaBy):
        raise UsageError(f"unknown alpha {alpha_by!r}; use one of {', '.join(get_args(AlphaBy))}")
    low = (picture.height, picture.width)
    whole = (upscaler.scale * low[0], upscaler.scale * low[1])
    size = size or whole
    if size[0] > whole[0] or size[1] > whole[1]:
        raise ImageError(
            f"{size[1]} x {size[0]} pixels are more than the x{upscaler.scale} model makes of "
            f"{low[1]} x {low[0]}; ask for less, or give a larger --model"
        )
    colour, grown_alpha = _planes(picture)
    curve = Curve.of(colour) if colour.dtype.kind == "f" else None
    cost: Enlarged | None = None
    if upscaler.scale > 1 and size[0] <= low[0] and size[1] <= low[1]:
        colour = resize(_unit(colour, curve), height=size[0], width=size[1])
        if grown_alpha is not None:
            grown_alpha = resize(grown_alpha, height=size[0], width=size[1])
    else:
        by_model = (
            grown_alpha is not None
            and alpha_by == "model"
            and upscaler.scale > 1
            and grown_alpha.min() != grown_alpha.max()
        )
        steps = _Steps(progress, 2 if by_model else 1)
        cost = upscaler.run(
            _tensor(_unit(colour, curve)),
            attention_ratio=attention_ratio,
            max_share=max_share,
            progress=steps,
            panorama=panorama,
        )
        colour = _array(cost.high, size, grey=colour.shape[2] == 1)
        if grown_alpha is not None:
            if by_model:
                steps.begun += 1
                second = upscaler.run(
                    _tensor(grown_alpha[:, :, None]),
                    attention_ratio=attention_ratio,
                    max_share=max_share,
                    progress=steps,
                    panorama=panorama,
                )
                high = _array(second.high, whole, grey=True)[:, :, 0]
                cost = _sum(cost, second)
            else:
                high = resize(grown_alpha, height=whole[0], width=whole[1]).clip(0.0, 1.0)
            grown_alpha = keep_extremes(high, grown_alpha, upscaler.scale)
            if size != whole:
                grown_alpha = resize(grown_alpha, height=size[0], width=size[1])
    dtype = picture.pixels.dtype
    result = replace(
        picture,
        pixels=_stored(colour, dtype, curve),
        alpha=None if grown_alpha is None else _stored(grown_alpha, dtype, None),
        metadata=fitted(picture.metadata, low=low, high=size),
    )
    return cost, result


class _Steps:
    """Progress of one run among several."""

    def __init__(self, progress: Progress | None, runs: int) -> None:
        self.progress, self.runs, self.begun = progress, runs, 0

    def __call__(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(self.begun * total + done, self.runs * total)


def _planes(
    picture: Picture,
) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Colour as stored, with what is invisible filled in, and alpha in [0, 1]."""
    if picture.alpha is None:
        return picture.pixels, None
    return bleed(picture.pixels, picture.alpha), _unit(picture.alpha, None)


def _unit(array: NDArray[Any], curve: Curve | None) -> NDArray[np.float32]:
    """Stored values to [0, 1], all bits of them."""
    if array.dtype.kind == "u":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    return array.astype(np.float32) if curve is None else curve.encode(array)


def _stored(values: NDArray[np.float32], dtype: np.dtype[Any], curve: Curve | None) -> NDArray[Any]:
    """Values around [0, 1] to what the file stores."""
    values = np.clip(values, 0.0, 1.0)
    if dtype.kind == "u":
        return np.floor(values * np.float32(np.iinfo(dtype).max) + np.float32(0.5)).astype(dtype)
    return values if curve is None else curve.decode(values)


def _tensor(values: NDArray[np.float32]) -> Tensor:
    """H x W x 1 or 3 to 3 x H x W."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).expand(3, -1, -1)


def _array(high: Tensor, size: tuple[int, int], *, grey: bool) -> NDArray[np.float32]:
    """3 x sH x sW to H' x W' x 1 or 3 in [0, 1], of the size asked for."""
    high = high.mean(dim=0, keepdim=True) if grey else high
    values = high.clamp(0.0, 1.0).permute(1, 2, 0).contiguous().numpy()
    if values.shape[:2] != size:
        values = resize(values, height=size[0], width=size[1])
    return values


def _sum(one: Enlarged, other: Enlarged) -> Enlarged:
    """What two runs cost together; the picture and the map are the first one's."""
    memory = [each.peak_memory_bytes for each in (one, other) if each.peak_memory_bytes is not None]
    return replace(
        one,
        macs=one.macs + other.macs,
        tiles=one.tiles + other.tiles,
        seconds=one.seconds + other.seconds,
        peak_memory_bytes=max(memory, default=None),
    )
