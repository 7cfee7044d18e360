"""Validation: pairs of pictures, and the one number that says how well a network does on them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr.data import BenchmarkSet, Reduction
from camixersr.errors import InputError
from camixersr.image.degradation import Degradation
from camixersr.metrics import latitude_weights, luma, psnr, ws_psnr
from camixersr.models import Trainable
from camixersr.nn.routing import Policy
from camixersr.tensors import from_array, to_array
from camixersr.train.photos import Photos

__all__ = ["Images", "degraded_pairs", "read_pairs", "reduced_pairs", "score"]

Images = Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""Low and high pictures, H x W x 3 and sH x sW x 3 each."""

SIDE = 96
"""Low pixels of a held-out photograph's middle, a side: many photographs tell more than whole ones."""


@torch.no_grad()
def score(network: Trainable, images: Images, policy: Policy, projection: str = "flat") -> float:
    """Mean luma PSNR over pairs, 8-bit rounding first, border of `scale` pixels cropped (none at scale 1).

    Args:
        network: on any device.
        images: low and high, uint8 RGB, each.
        policy: who chooses the windows.
        projection: "erp" for panoramas: mean WS-PSNR of RGB instead, computed flat, without wrap.

    Returns:
        dB.
    """
    device = next(network.parameters()).device
    scale = network.config.scale
    results: list[float] = []
    for low, high in images:
        image = from_array(low)[None].to(device)
        if network.config.latitude and projection == "erp":
            cosine = torch.from_numpy(latitude_weights(len(low))).to(image)
            image = torch.cat((image, cosine[:, None].expand(1, 1, *low.shape[:2])), dim=1)
        result = to_array(network(image, policy)[0].float().cpu())
        if projection == "erp":
            results.append(ws_psnr(result, high))
        else:
            results.append(psnr(luma(result), luma(high), border=scale if scale > 1 else 0))
    return float(np.mean(results))


def reduced_pairs(photos: Photos, scale: int, way: Reduction, *, whole: bool = False) -> Images:
    """The middles of photographs as validation pairs; `whole` ones if they are panoramas."""
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for number in range(len(photos)):
        photo = photos.photo(number)
        height, width = (length // scale for length in photo.shape[:2])
        if not whole:
            top, left = (scale * max(0, (length - SIDE) // 2) for length in (height, width))
            photo = photo[top:, left:]
            height, width = min(SIDE, height), min(SIDE, width)
        high = photo[: scale * height, : scale * width]
        pairs.append((way.make(high, scale), high))
    return pairs


def degraded_pairs(photos: Photos, degradation: Degradation) -> Images:
    """The middles of photographs as validation pairs, each with another amount of the degradation."""
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for number in range(len(photos)):
        photo = photos.photo(number)
        height, width = (min(SIDE, length) for length in photo.shape[:2])
        top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
        high = photo[top : top + height, left : left + width]
        amount = degradation.at(number / max(1, len(photos) - 1))
        pairs.append((degradation.apply(high, amount, seed=number), high))
    return pairs


def read_pairs(benchmark: BenchmarkSet, scale: int) -> Images:
    """The validation pictures; all of them, or none."""
    if benchmark.problems:
        raise InputError(benchmark.problems[0])
    return [pair.read(scale) for pair in benchmark.pairs]
