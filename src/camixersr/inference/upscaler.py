"""One object that enlarges pictures: whole or in tiles, on any device, always the same way."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.errors import DeviceError, ShapeError, UsageError
from camixersr.image.codec import Picture
from camixersr.image.resize import resize
from camixersr.inference.arrays import planes_of, restore
from camixersr.inference.tiles import Tile, blend_weights, plan
from camixersr.nn.routing import Policy
from camixersr.operations import count
from camixersr.weights import Model

__all__ = ["AUTO_TILE", "Device", "Enlarged", "Precision", "Upscaler"]

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

AUTO_WHOLE = 512 * 512
"""Largest picture, in low pixels, that `tile="auto"` computes in one piece."""

AUTO_TILE = 256
"""Side of a tile, in low pixels, that `tile="auto"` cuts larger pictures into."""

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all; a step is one block of one tile."""


@dataclass(frozen=True)
class Enlarged:
    """An enlargement and what it cost.

    Attributes:
        high: 3 x sH x sW float32 on the CPU, nominally in [0, 1], not clamped.
        shares: ceil(H/M) x ceil(W/M): for every window the share of blocks that attended it.
        attention_share: windows attended, of all windows in all blocks and tiles, in [0, 1].
        macs: multiply-adds that ran, see `camixersr.operations`.
        tiles: pieces computed.
        seconds: wall time of the network.
        peak_memory_bytes: highest memory of the process (of the accelerator, where one is used)
            meanwhile; None where the system does not tell.
        precision: what was computed in; "fp32" also where reduced precision overflowed.
    """

    high: Tensor
    shares: NDArray[np.float64]
    attention_share: float
    macs: int
    tiles: int
    seconds: float
    peak_memory_bytes: int | None
    precision: str


@dataclass
class _Reporting:
    """A policy that tells how far the network has come: it is asked once a block."""

    policy: Policy
    step: Callable[[], None]

    def choose(self, logits: Tensor, block: int) -> Tensor:
        self.step()
        return self.policy.choose(logits, block)


def _device(name: str) -> torch.device:
    if name not in get_args(Device):
        raise UsageError(f"unknown device {name!r}; use one of {', '.join(get_args(Device))}")
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there[name]:
        here = ", ".join(kind for kind, yes in there.items() if yes)
        raise DeviceError(f"no {name} device on this machine; there is {here}; use --device auto")
    return torch.device(name)


class Upscaler:
    """Enlarges pictures with one model.

    Args:
        model: from `camixersr.load` or `camixersr.weights`.
        device: "auto" takes the first of cuda, mps and cpu that is there.
        precision: "auto" is fp32; bf16 and fp16 are autocast, recomputed in fp32 where they
            overflow.
        tile: low pixels a tile, a multiple of 16 from 64 up; 0 computes any picture whole; "auto"
            cuts pictures above 512 x 512 low pixels into tiles of 256.

    Raises:
        DeviceError: the device is not there.
        UsageError: an unknown device or precision.
        ValueRangeError: a tile of that size cannot be cut.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | Literal["auto"] = "auto",
    ) -> None:
        if precision not in get_args(Precision):
            raise UsageError(
                f"unknown precision {precision!r}; use one of {', '.join(get_args(Precision))}"
            )
        self.model = model
        self.device = _device(device)
        self.precision = "fp32" if precision == "auto" else precision
        self.tile: int | Literal["auto"] = tile
        if tile != "auto":
            plan(max(1, tile) + 1, tile)  # complains now rather than at the first large picture
        self.network = model.network.to(self.device)

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        return self.model.config.scale

    def upscale(self, image: Any, *, attention_ratio: float = 0.5) -> Any:
        """Enlarge a picture; the result is of the kind that was given.

        Args:
            image: numpy, H x W or H x W x C with 1 to 4 channels (grey, grey + alpha, RGB, RGBA),
                uint8, uint16 or floating point in [0, 1]; or a PIL image; or a torch tensor,
                (B x) 3 x H x W, floating point in [0, 1] or uint8.
            attention_ratio: gamma in [0, 1]; see `Model.policy`.

        Returns:
            The same kind, dtype and channels, `scale` times as high and wide. Alpha is enlarged
            bicubically. Values are clipped to the range.

        Raises:
            ShapeError: no picture of these kinds.
            ValueRangeError: the ratio or the pixels are out of range.
        """
        if isinstance(image, Tensor):
            return self._upscale_tensor(image, attention_ratio)
        if isinstance(image, np.ndarray):
            return self._upscale_array(image, attention_ratio)
        if hasattr(image, "getbands") and hasattr(image, "convert"):
            return self._upscale_pil(image, attention_ratio)
        raise ShapeError(
            f"expected a numpy array, a PIL image or a torch tensor, got {type(image).__name__}"
        )

    def enlarge(
        self, picture: Picture, *, attention_ratio: float = 0.5, progress: Progress | None = None
    ) -> tuple[Enlarged, Picture]:
        """Enlarge a decoded file; depth, channels, alpha and metadata are kept.

        Args:
            picture: from `camixersr.image.codec.read`.
            attention_ratio: gamma in [0, 1].
            progress: told how far it is.

        Returns:
            What it cost, and the enlarged picture.

        Raises:
            ValueRangeError: the ratio is out of range.
        """
        planes = planes_of(picture.pixels)
        enlarged = self.run(planes.colour, attention_ratio=attention_ratio, progress=progress)
        pixels = restore(enlarged.high, planes, picture.pixels.dtype)
        alpha = None if picture.alpha is None else self._grow(picture.alpha)
        return enlarged, Picture(pixels, alpha, picture.metadata)

    def _upscale_tensor(self, image: Tensor, ratio: float) -> Tensor:
        batch = image if image.ndim == 4 else image[None]
        if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape:
            raise ShapeError(f"expected a tensor (B x) 3 x H x W, got {tuple(image.shape)}")
        if not (image.is_floating_point() or image.dtype == torch.uint8):
            raise ShapeError(f"expected a floating-point or uint8 tensor, got {image.dtype}")
        peak = 255.0 if image.dtype == torch.uint8 else 1.0
        results: list[Tensor] = []
        for low in batch:  # one by one: neighbours must not matter
            high = self.run(low.float().cpu() / peak, attention_ratio=ratio).high.clamp(0.0, 1.0)
            high = (high * 255.0 + 0.5).floor() if image.dtype == torch.uint8 else high
            results.append(high.to(device=image.device, dtype=image.dtype))
        return torch.stack(results) if image.ndim == 4 else results[0]

    def _upscale_array(self, image: NDArray[Any], ratio: float) -> NDArray[Any]:
        planes = planes_of(image)
        result = restore(self.run(planes.colour, attention_ratio=ratio).high, planes, image.dtype)
        if planes.alpha is not None:
            result = np.concatenate((result, self._grow(planes.alpha)), axis=2)
        return result[:, :, 0] if image.ndim == 2 else result

    def _upscale_pil(self, image: Any, ratio: float) -> Any:
        from PIL import Image

        mode = image.mode
        if mode.startswith("I;16"):
            return Image.fromarray(self._upscale_array(np.asarray(image).astype(np.uint16), ratio))
        if mode not in ("L", "LA", "RGB", "RGBA"):
            transparent = "transparency" in image.info or mode in ("PA", "La", "RGBa")
            image = image.convert("RGBA" if transparent else ("L" if mode == "1" else "RGB"))
        return Image.fromarray(self._upscale_array(np.asarray(image), ratio))

    def _grow(self, alpha: NDArray[Any]) -> NDArray[Any]:
        """Enlarge an alpha plane, H x W (x 1), bicubically."""
        height, width = (self.scale * length for length in alpha.shape[:2])
        work = alpha.astype(np.float32) if alpha.dtype.kind == "f" else alpha
        grown = resize(work, height=height, width=width)
        return np.clip(grown, 0, None if alpha.dtype.kind == "u" else 1).astype(alpha.dtype)

    @torch.inference_mode()
    def run(
        self, low: Tensor, *, attention_ratio: float = 0.5, progress: Progress | None = None
    ) -> Enlarged:
        """Enlarge one RGB image, and tell what it cost.

        Args:
            low: 3 x H x W float32 in [0, 1].
            attention_ratio: gamma in [0, 1].
            progress: told how far it is.

        Returns:
            The enlargement.

        Raises:
            ShapeError: no RGB image.
            ValueRangeError: the ratio is out of range.
        """
        if low.ndim != 3 or low.shape[0] != 3 or 0 in low.shape:
            raise ShapeError(f"expected an RGB image 3 x H x W, got {tuple(low.shape)}")
        policy = self.model.policy(attention_ratio)
        _, height, width = low.shape
        s, M = self.scale, self.model.config.window
        tile = self.tile
        if tile == "auto":
            tile = 0 if height * width <= AUTO_WHOLE else AUTO_TILE
        rows, columns = plan(height, tile), plan(width, tile)
        tiles = [Tile(row, column) for row in rows for column in columns]
        down = dict(zip(rows, blend_weights(rows, s), strict=True))
        across = dict(zip(columns, blend_weights(columns, s), strict=True))

        blocks = self.network.block_count
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(min(done, blocks * len(tiles)), blocks * len(tiles))

        _reset_peak_memory(self.device)
        began = time.perf_counter()
        high = torch.zeros(3, s * height, s * width)
        attended = np.zeros((-(-height // M), -(-width // M)))
        computed = np.zeros_like(attended)
        precisions: set[str] = set()
        for each in tiles:
            y, x = each.rows, each.columns
            part = low[None, :, y.start : y.stop, x.start : x.stop]
            result, shares, precision = self._compute(part, _Reporting(policy, step))
            weight = torch.from_numpy(down[y])[:, None] * torch.from_numpy(across[x])
            high[:, s * y.start : s * y.stop, s * x.start : s * x.stop] += result * weight
            precisions.add(precision)
            first_row, first_column = y.start // M, x.start // M
            window = np.s_[
                first_row : first_row + shares.shape[0], first_column : first_column + shares.shape[1]
            ]
            attended[window] += shares
            computed[window] += 1.0
        seconds = time.perf_counter() - began
        windows = int(computed.sum())
        total = round(float(attended.sum()) * blocks)
        return Enlarged(
            high=high,
            shares=attended / computed,
            attention_share=total / (windows * blocks),
            macs=count(self.model.config, windows=windows, attended=total).total,
            tiles=len(tiles),
            seconds=seconds,
            peak_memory_bytes=_peak_memory(self.device),
            precision="fp32" if precisions == {"fp32"} else self.precision,
        )

    def _compute(self, low: Tensor, policy: Policy) -> tuple[Tensor, NDArray[np.float64], str]:
        """One tile, 1 x 3 x H x W: the high tile on the CPU, each window's share, the precision."""
        image = low.to(self.device)
        for precision in (self.precision, "fp32"):
            reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
            cast = torch.autocast(self.device.type, reduced) if reduced else contextlib.nullcontext()
            with cast:
                high, routing = self.network.route(image, policy)
            if precision == "fp32" or bool(high.isfinite().all()):
                break
        shares = routing.attended[:, 0].double().mean(dim=0).reshape(routing.rows, routing.columns)
        return high[0].float().cpu(), shares.cpu().numpy(), precision


def _reset_peak_memory(device: torch.device) -> None:
    """Start measuring anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: torch.device) -> int | None:
    """Highest memory since the reset, bytes: of the accelerator, or resident of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
