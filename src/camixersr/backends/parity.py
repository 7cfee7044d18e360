"""Is it the same network? What a runtime makes of a photograph, beside what torch makes of it in fp32."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.backends.protocol import Backend
from camixersr.image.decode import read
from camixersr.metrics import decibels
from camixersr.models.fixed import FixedWindows
from camixersr.nn.routing import Policy, TopShare
from camixersr.tensors import from_array
from camixersr.weights import Model

__all__ = ["GATES", "RATIOS", "Parity", "compare", "compare_images", "sample_photo"]

GATES = {"fp32": 90.0, "bf16": 50.0, "fp16": 50.0}
"""Least PSNR in dB, peak 1, at which two results count as the same. Rounding an fp32 sum differently
leaves about 140 dB; 8-bit pixels differ by at most one step from about 54 dB up."""

RATIOS = (0.0, 0.5, 1.0)
"""Attention ratios that are compared."""


@dataclass(frozen=True)
class Parity:
    """How far a runtime's results are from torch's in fp32.

    Attributes:
        psnr_db: the lowest of all photographs and ratios, peak 1; infinite where all are equal.
        max_abs: largest difference of a value.
        gate_db: what is asked for.
    """

    psnr_db: float
    max_abs: float
    gate_db: float

    @property
    def passed(self) -> bool:
        """Whether it is the same network."""
        return self.psnr_db >= self.gate_db  # NaN is not

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.psnr_db:.1f} dB from torch in fp32 (at least {self.gate_db:g} wanted), largest "
            f"difference {self.max_abs:.2g}"
        )


def sample_photo() -> Tensor:
    """The photograph in this package: 3 x 240 x 320 float32 in [0, 1] (its source is beside it)."""
    with resources.as_file(resources.files("camixersr") / "assets" / "photo.jpg") as path:
        return from_array(read(path).pixels)


@torch.inference_mode()
def compare(
    backend: Backend, model: Model, photos: Sequence[Tensor], *, step: Callable[[], None] = lambda: None
) -> Parity:
    """Let a backend compute photographs, whole, at several attention ratios.

    Args:
        backend: of a runtime.
        model: its own.
        photos: each 3 x H x W float32 in [0, 1].
        step: called for each photograph and ratio of `RATIOS`, when it has been compared.

    Returns:
        The worst that was seen.
    """
    seen = _Seen(backend.precision)
    network = model.network
    device = next(network.parameters()).device
    for photo in photos:
        for ratio in RATIOS:
            policy: Policy = model.policy(ratio)
            expected, routing = network.route(photo[None].to(device), policy)
            if isinstance(policy, TopShare):  # equal scores may be ranked in another order
                policy = FixedWindows.replay(routing)
            found = backend.route(photo[None].numpy(), policy, model.pool)
            seen.add(torch.from_numpy(found.high), expected)
            step()
    return seen.parity


@torch.inference_mode()
def compare_images(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    model: Model,
    photos: Sequence[Tensor],
    attention_ratio: float,
    *,
    precision: str = "fp32",
    step: Callable[[], None] = lambda: None,
) -> Parity:
    """Let something that takes and gives images (`camixersr.export.simple`) compute photographs.

    Args:
        run: 1 x 3 x H x W in [0, 1] -> 1 x 3 x sH x sW, clamped.
        model: whose network it is.
        photos: each 3 x H x W float32 in [0, 1].
        attention_ratio: the one that it was made for.
        precision: of its weights: "fp32", or "fp16".
        step: called for each photograph, when it has been compared.

    Returns:
        The worst that was seen.
    """
    seen = _Seen(precision)
    device = next(model.network.parameters()).device
    for photo in photos:
        policy = model.policy(attention_ratio)
        expected, _ = model.network.route(photo[None].to(device), policy)
        seen.add(torch.from_numpy(run(photo[None].contiguous().numpy())), expected.clamp(0.0, 1.0))
        step()
    return seen.parity


class _Seen:
    """The worst of several comparisons; a NaN in one stays."""

    def __init__(self, precision: str) -> None:
        self.gate = GATES[precision]
        self.error, self.largest = 0.0, 0.0

    def add(self, result: Tensor, expected: Tensor) -> None:
        """Compare one more result."""
        difference = (result.cpu().double() - expected.cpu().double()).abs()
        error = float(difference.square().mean())
        if math.isnan(error) or math.isnan(self.error):
            self.error = self.largest = math.nan
            return
        self.error = max(self.error, error)
        self.largest = max(self.largest, float(difference.max()))

    @property
    def parity(self) -> Parity:
        """What that comes to."""
        psnr_db = math.nan if math.isnan(self.error) else decibels(self.error, data_range=1.0)
        return Parity(psnr_db, self.largest, self.gate)
