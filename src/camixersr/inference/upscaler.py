"""One object that enlarges pictures: whole or in tiles, on any device, always the same way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.errors import DeviceError, MemoryLimitError, ShapeError, UsageError, ValueRangeError
from camixersr.image.resize import resize
from camixersr.inference.arrays import planes_of, restore
from camixersr.image.panorama import Panorama
from camixersr.inference.cost import Bill, Cost, Progress
from camixersr.inference.sphere import Spherical
from camixersr.inference.survey import Plan, Source, allow_best, patches, rounds, survey
from camixersr.inference.tiles import Beyond, Tile, cut, halve, of_owned
from camixersr.nn.predictor import Pool, pool_image
from camixersr.nn.routing import Policy, Routing
from camixersr.weights import Model

__all__ = ["AUTO_TILE", "AUTO_WHOLE", "Device", "Enlarged", "Piece", "Precision", "Upscaler"]

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

AUTO_WHOLE = 512 * 512
"""Largest picture, in low pixels, that `tile="auto"` computes in one piece."""

AUTO_TILE = 320
"""Largest side of a tile, in low pixels, that `tile="auto"` cuts larger pictures into."""

SANE = 1.5
"""How far from 0.5 a result in reduced precision may lie before it is computed again in fp32."""


@dataclass(frozen=True, kw_only=True)
class Enlarged(Cost):
    """An enlargement and what it cost.

    Attributes:
        high: 3 x sH x sW float32 on the CPU, nominally in [0, 1], not clamped.
    """

    high: Tensor


@dataclass(frozen=True)
class Piece:
    """What came of a tile.

    Attributes:
        tile: where it lies.
        high: 3 x sh x sw float32 on the CPU: the pixels that the tile owns.
        attended: rows x columns: how many blocks attended each window that the tile owns.
        precision: what it was computed in.
        windows: windows computed, the halo's included.
        computed: how often these were attended, over all blocks.
    """

    tile: Tile
    high: Tensor
    attended: NDArray[np.int64]
    precision: str
    windows: int
    computed: int


@dataclass(frozen=True)
class _InMemory:
    """A `Source` that is a tensor, 3 x H x W."""

    low: Tensor
    panorama: None = None

    @property
    def height(self) -> int:
        return self.low.shape[1]

    @property
    def width(self) -> int:
        return self.low.shape[2]

    def read(self, rows: slice, columns: slice) -> Tensor:
        return self.low[None, :, rows, columns]


def _is_memory_shortage(error: Exception) -> bool:
    """Whether torch, one of its libraries or Python ran out of memory."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "out of memory" in said
        or "allocate memory" in said
        or "could not create a memory" in said  # oneDNN's words
        or "could not create a primitive" in said
    )


def _too_small(low: Tensor) -> MemoryLimitError:
    return MemoryLimitError(
        f"out of memory even for {low.shape[-1]} x {low.shape[-2]} pixels of the input at once; close "
        "other programs, or take a smaller model"
    )


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
            cuts pictures above 512 x 512 low pixels into tiles of up to 320. Each is computed with
            48 pixels around it.

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
            cut(1, 1, tile)  # complains now rather than at the first large picture
        self.network = model.network.to(self.device)

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        return self.model.config.scale

    def upscale(
        self, image: Any, *, attention_ratio: float = 0.5, projection: Literal["flat", "erp"] = "flat"
    ) -> Any:
        """Enlarge a picture; the result is of the kind that was given.

        Args:
            image: numpy, H x W or H x W x C with 1 to 4 channels (grey, grey + alpha, RGB, RGBA),
                uint8, uint16 or floating point in [0, 1]; or a PIL image; or a torch tensor,
                (B x) 3 x H x W, floating point in [0, 1] or uint8.
            attention_ratio: gamma in [0, 1]; see `Model.policy`.
            projection: "erp" for a whole equirectangular panorama, twice as wide as high: it is
                computed as the sphere it is, without a seam.

        Returns:
            The same kind, dtype and channels, `scale` times as high and wide. Alpha is enlarged
            bicubically. Values are clipped to the range.

        Raises:
            ShapeError: no picture of these kinds.
            ValueRangeError: the ratio or the pixels are out of range.
            UsageError: an unknown projection.
            ImageError: a panorama that is not twice as wide as high.
        """
        if projection not in ("flat", "erp"):
            raise UsageError(f"unknown projection {projection!r}; use flat or erp")

        def run(low: Tensor) -> Tensor:
            panorama = Panorama.whole(*low.shape[1:]) if projection == "erp" else None
            return self.run(low, attention_ratio=attention_ratio, panorama=panorama).high

        if isinstance(image, Tensor):
            return self._upscale_tensor(image, run)
        if isinstance(image, np.ndarray):
            return self._upscale_array(image, run)
        if hasattr(image, "getbands") and hasattr(image, "convert"):
            return self._upscale_pil(image, run)
        raise ShapeError(
            f"expected a numpy array, a PIL image or a torch tensor, got {type(image).__name__}"
        )

    def _upscale_tensor(self, image: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        batch = image if image.ndim == 4 else image[None]
        if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape:
            raise ShapeError(f"expected a tensor (B x) 3 x H x W, got {tuple(image.shape)}")
        if not (image.is_floating_point() or image.dtype == torch.uint8):
            raise ShapeError(f"expected a floating-point or uint8 tensor, got {image.dtype}")
        peak = 255.0 if image.dtype == torch.uint8 else 1.0
        results: list[Tensor] = []
        for low in batch:  # one by one: neighbours must not matter
            high = run(low.float().cpu() / peak).clamp(0.0, 1.0)
            high = (high * 255.0 + 0.5).floor() if image.dtype == torch.uint8 else high
            results.append(high.to(device=image.device, dtype=image.dtype))
        return torch.stack(results) if image.ndim == 4 else results[0]

    def _upscale_array(self, image: NDArray[Any], run: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        planes = planes_of(image)
        result = restore(run(planes.colour), planes, image.dtype)
        if planes.alpha is not None:
            result = np.concatenate((result, self._grow(planes.alpha)), axis=2)
        return result[:, :, 0] if image.ndim == 2 else result

    def _upscale_pil(self, image: Any, run: Callable[[Tensor], Tensor]) -> Any:
        from PIL import Image

        mode = image.mode
        if mode.startswith("I;16"):
            return Image.fromarray(self._upscale_array(np.asarray(image).astype(np.uint16), run))
        if mode not in ("L", "LA", "RGB", "RGBA"):
            transparent = "transparency" in image.info or mode in ("PA", "La", "RGBa")
            image = image.convert("RGBA" if transparent else ("L" if mode == "1" else "RGB"))
        return Image.fromarray(self._upscale_array(np.asarray(image), run))

    def _grow(self, alpha: NDArray[Any]) -> NDArray[Any]:
        """Enlarge an alpha plane, H x W (x 1), bicubically."""
        height, width = (self.scale * length for length in alpha.shape[:2])
        work = alpha.astype(np.float32) if alpha.dtype.kind == "f" else alpha
        grown = resize(work, height=height, width=width)
        return np.clip(grown, 0, None if alpha.dtype.kind == "u" else 1).astype(alpha.dtype)

    @torch.inference_mode()
    def run(
        self,
        low: Tensor,
        *,
        attention_ratio: float = 0.5,
        max_share: float = 1.0,
        progress: Progress | None = None,
        panorama: Panorama | None = None,
    ) -> Enlarged:
        """Enlarge one RGB image, and tell what it cost.

        Args:
            low: 3 x H x W float32 in [0, 1].
            attention_ratio: gamma in [0, 1].
            max_share: most windows that may be attended in any block, as a share of all.
            progress: told how far it is.
            panorama: what the image shows of a sphere; None for a flat one.

        Returns:
            The enlargement.

        Raises:
            ShapeError: no RGB image.
            ValueRangeError: the ratio or the share is out of range.
            MemoryLimitError: the memory does not suffice for the smallest tile.
        """
        if low.ndim != 3 or low.shape[0] != 3 or 0 in low.shape:
            raise ShapeError(f"expected an RGB image 3 x H x W, got {tuple(low.shape)}")
        source: Source = _InMemory(low)
        if panorama is not None:
            source = Spherical(source, panorama, self.model.config.latitude)
        bill = Bill(self.model.config, self.device, source.height, source.width, progress)
        plan = self.plan(source, bill, attention_ratio=attention_ratio, max_share=max_share)
        s = self.scale
        high = torch.empty(3, s * source.height, s * source.width)
        for tile in plan.tiles:
            for piece in self.compute(plan, tile, source.read(*tile.computed), bill):
                y, x = piece.tile.rows, piece.tile.columns
                high[:, s * y.own_start : s * y.own_stop, s * x.own_start : s * x.own_stop] = piece.high
        return Enlarged(**vars(bill.cost()), high=high)

    @torch.inference_mode()
    def plan(
        self,
        source: Source,
        bill: Bill,
        *,
        attention_ratio: float,
        max_share: float = 1.0,
        tile: int | None = None,
    ) -> Plan:
        """Settle how a picture will be computed; see `camixersr.inference.survey`.

        Args:
            source: the picture.
            bill: where the first look is counted.
            attention_ratio: gamma in [0, 1].
            max_share: most windows that may be attended in any block, as a share of all.
            tile: instead of the upscaler's own.

        Returns:
            The plan: tiles, routing and what channel attention knows of the whole.

        Raises:
            ValueRangeError: a number is out of range.
        """
        if not 0.0 <= max_share <= 1.0:
            raise ValueRangeError(f"max share must lie in [0, 1], got {max_share}")
        policy: Policy = self.model.policy(attention_ratio)
        pool: Pool = pool_image
        side = self.tile if tile is None else tile
        if side == "auto":
            side = 0 if source.height * source.width <= AUTO_WHOLE else AUTO_TILE
        panorama = source.panorama
        tiles = tuple(cut(source.height, source.width, side, beyond=Beyond.of(panorama)))
        bill.expect(sum(each.pixels for each in tiles))

        def look(low: Tensor, policy: Policy, pool: Pool) -> Routing:
            watched = bill.watch(policy, low.shape[-2] * low.shape[-1])
            try:
                _, routing, _ = self.route(low, watched, pool)
            except (RuntimeError, MemoryError) as error:
                raise (_too_small(low) if _is_memory_shortage(error) else error) from error
            bill.ran_all(routing)
            return routing

        if len(tiles) > 1:
            sampled = patches(source.height, source.width)
            bill.expect(rounds(policy) * sum((y.stop - y.start) * (x.stop - x.start) for y, x in sampled))
            seen = survey(look, source, policy)
            policy, pool = seen.policy, seen.pool
        window = self.model.config.window
        allowed = None
        if max_share < 1.0:
            allowed = allow_best(look, source, max_share, window=window, tile=side)
        return Plan(source.height, source.width, tiles, policy, pool, window, allowed, panorama)

    @torch.inference_mode()
    def compute(self, plan: Plan, tile: Tile, low: Tensor, bill: Bill) -> list[Piece]:
        """Compute one tile, in smaller ones where the memory does not suffice.

        Args:
            plan: of the picture.
            tile: one of its tiles.
            low: 1 x 3 x h x w, what the tile computes; with a fourth channel where the source has one.
            bill: where it is counted.

        Returns:
            Pieces that together own what the tile owns: itself, as a rule.

        Raises:
            MemoryLimitError: the memory does not suffice for the smallest tile.
        """
        try:
            return [self._compute(plan, tile, low, bill)]
        except (RuntimeError, MemoryError) as error:
            if not _is_memory_shortage(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = halve(tile, plan.height, plan.width, beyond=Beyond.of(plan.panorama))
        if len(smaller) == 1:
            raise _too_small(low)
        pieces: list[Piece] = []
        for part in smaller:
            top, left = part.rows.start - tile.rows.start, part.columns.start - tile.columns.start
            inside = low[..., top : top + part.rows.length, left : left + part.columns.length]
            pieces += self.compute(plan, part, inside, bill)
        return pieces

    def _compute(self, plan: Plan, tile: Tile, low: Tensor, bill: Bill) -> Piece:
        policy = bill.watch(plan.policy_of(tile), tile.pixels)
        high, routing, precision = self.route(low, policy, plan.pool_of(tile))
        s, y, x = self.scale, tile.rows, tile.columns
        top, left = s * (y.own_start - y.start), s * (x.own_start - x.start)
        attended = routing.attended[:, 0].sum(dim=0).cpu().numpy()
        piece = Piece(
            tile,
            high[0, :, top : top + s * y.owned, left : left + s * x.owned].float().cpu(),
            of_owned(tile, attended, plan.window),
            precision,
            windows=attended.size,
            computed=int(attended.sum()),
        )
        bill.ran(piece.windows, piece.computed)
        bill.tile(tile, piece.attended, precision)
        return piece

    @torch.inference_mode()
    def route(self, low: Tensor, policy: Policy, pool: Pool = pool_image) -> tuple[Tensor, Routing, str]:
        """`CAMixerSR.route` on the device and in the precision of this upscaler.

        What comes out infinite, NaN or far outside [0, 1] in reduced precision is computed again in
        fp32.

        Args:
            low: 1 x 3 x h x w float32 in [0, 1]; a fourth channel as for `CAMixerSR.forward`.
            policy: who routes.
            pool: what channel attention knows of the whole image.

        Returns:
            1 x 3 x sh x sw on the device, the routing, and the precision it was computed in.
        """
        image = low.to(self.device)
        reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        if reduced is not None:
            with torch.autocast(self.device.type, reduced):
                high, routing = self.network.route(image, policy, pool=pool)
            if bool((high.float() - 0.5).abs().amax() <= SANE):  # NaN is not
                return high, routing, self.precision
        high, routing = self.network.route(image, policy, pool=pool)
        return high, routing, "fp32"
