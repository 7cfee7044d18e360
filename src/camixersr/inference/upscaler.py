"""One object that enlarges pictures: whole or in tiles, on any device, always the same way."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.errors import DeviceError, MemoryLimitError, ShapeError, UsageError, ValueRangeError
from camixersr.image.panorama import Panorama
from camixersr.inference.cost import Bill, Cost, Progress
from camixersr.inference.crew import Crew, Watch, compute_tiles
from camixersr.inference.engine import Engine
from camixersr.inference.memory import batch_size
from camixersr.inference.plan import Classified, Plan, Source, classify
from camixersr.inference.prepared import Prepared
from camixersr.inference.shared import Shared
from camixersr.inference.sphere import Spherical
from camixersr.inference.survey import allow_best, is_needed, patches, rounds, survey
from camixersr.inference.tiles import (
    AUTO_TILE,
    AUTO_WHOLE,
    GRID,
    HALO,
    Beyond,
    Tile,
    cut,
    group,
    halve,
    of_owned,
)
from camixersr.models import CAMixerSR
from camixersr.nn.predictor import Pool
from camixersr.nn.routing import Policy, Routing
from camixersr.weights import Model

__all__ = ["AUTO_TILE", "AUTO_WHOLE", "Enlarged", "Piece", "Precision", "Upscaler", "devices_of"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

PREPARED_TILE = 640
"""Largest side of a tile, in low pixels, that `tile="auto"` cuts larger pictures into where the network
runs prepared, which takes a quarter of the memory; elsewhere it is `AUTO_TILE`."""

PREPARED_WHOLE = (PREPARED_TILE + 2 * HALO) ** 2
"""Largest picture, in low pixels, that is then computed in one piece: as many as such a tile computes."""

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
    """A `Source` that is a tensor, 3 x H x W, or an array that processes share."""

    low: Tensor | Shared
    panorama: None = None

    @property
    def _tensor(self) -> Tensor:
        return torch.from_numpy(self.low.array) if isinstance(self.low, Shared) else self.low

    @property
    def height(self) -> int:
        return self._tensor.shape[1]

    @property
    def width(self) -> int:
        return self._tensor.shape[2]

    def read(self, rows: slice, columns: slice) -> Tensor:
        return self._tensor[None, :, rows, columns]


@dataclass(frozen=True)
class _HighInMemory:
    """A `Canvas` that is an array, 3 x sH x sW, or one that processes share."""

    high: NDArray[np.float32] | Shared
    scale: int

    def put(self, tile: Tile, pieces: Sequence["Piece"]) -> None:
        high, s = self.high.array if isinstance(self.high, Shared) else self.high, self.scale
        for piece in pieces:
            y, x = piece.tile.rows, piece.tile.columns
            high[:, s * y.own_start : s * y.own_stop, s * x.own_start : s * x.own_stop] = piece.high.numpy()

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass


def _is_memory_shortage(error: Exception) -> bool:
    """Whether torch, one of its libraries or Python ran out of memory."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "out of memory" in said
        or "allocate memory" in said
        or "could not create a memory" in said  # oneDNN's words
        or "could not create a primitive" in said
    )


def _is_sane(high: Tensor) -> Tensor:
    """Which images of a batch, B x 3 x h x w, are near enough to [0, 1] to be true: B bool."""
    least, most = high.amin(dim=(1, 2, 3)), high.amax(dim=(1, 2, 3))  # neither copies what is cropped
    return (least >= 0.5 - SANE) & (most <= 0.5 + SANE)  # NaN is not


def _too_small(low: Tensor) -> MemoryLimitError:
    return MemoryLimitError(
        f"out of memory even for {low.shape[-1]} x {low.shape[-2]} pixels of the input at once; close "
        "other programs, or take a smaller model"
    )


def devices_of(names: str) -> tuple[torch.device, ...]:
    """The devices of a list of names.

    >>> devices_of("cpu,cpu")
    (device(type='cpu'), device(type='cpu'))

    Args:
        names: "cpu", "cuda", "cuda:1", "mps"; several of them, with commas between; "auto", the first
            of cuda, mps and cpu that is there; or "all", every cuda device, or "auto" without one.

    Returns:
        At least one.

    Raises:
        DeviceError: one is not there.
        UsageError: an unknown name.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [f"cuda:{number}" for number in range(cuda)]
    there += ["mps"] if torch.backends.mps.is_available() else []
    there += ["cpu"]
    if names == "all" and cuda > 1:
        return tuple(torch.device(name) for name in there[:cuda])
    if names in ("auto", "all"):
        return (torch.device(there[0].removesuffix(":0")),)
    found: list[torch.device] = []
    for name in names.split(","):
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
            raise UsageError(
                f"unknown device {name!r}; use auto, cpu, cuda, mps, all, or several such as cuda:0,cuda:1"
            )
        if not any(each in (name, f"{name}:0") for each in there):
            raise DeviceError(
                f"no {name} device on this machine; there is {', '.join(there)}; use --device auto"
            )
        found.append(torch.device(name))
    return tuple(found)


class Upscaler:
    """Enlarges pictures with one model.

    Args:
        model: from `camixersr.load` or `camixersr.weights`.
        device: "auto" takes the first of cuda, mps and cpu that is there; several ("cuda:0,cuda:1",
            "all") share the tiles of each picture, each in a process of its own, which ends with this
            object (a script needs `if __name__ == "__main__":` around what it does then).
        precision: "auto" is fp32; bf16 and fp16 are autocast, recomputed in fp32 where they
            overflow.
        tile: low pixels a tile, a multiple of the side of the cells that the model pools over (64 for
            the embedded ones), or of 16 from 64 up; 0 computes any picture whole; "auto" cuts
            pictures above 736 x 736 low pixels into tiles of up to 640 on the CPU, those above
            512 x 512 into tiles of up to 320 elsewhere. Each is computed with 80 pixels around it, or
            48 where there are no cells.
        engine: computes pieces instead of the torch network, from `camixersr.runtimes`; `precision` is
            then its own.
        batch: tiles of a picture that are computed at once; "auto" is one on the CPU, and as many as
            a half of an accelerator's memory is expected to hold.

    Raises:
        DeviceError: the device is not there.
        UsageError: an unknown device or precision, or a ClassSR without thresholds.
        ValueRangeError: a tile of that size cannot be cut.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | Literal["auto"] = "auto",
        batch: int | Literal["auto"] = "auto",
        engine: Engine | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise UsageError(
                f"unknown precision {precision!r}; use one of {', '.join(get_args(Precision))}"
            )
        if batch != "auto" and batch < 1:
            raise ValueRangeError(f"batch must be at least 1, got {batch}")
        self.model = model
        self.devices = devices_of(device)
        self.device = self.devices[0]
        self.precision = "fp32" if precision == "auto" else precision
        self.tile: int | Literal["auto"] = tile
        self.cell = model.config.pool
        """Side of the cells that tiles are aligned to, in low pixels; 0 for none."""
        if tile != 0 and GRID % model.config.window:
            raise ValueRangeError(
                f"windows of {model.config.window} pixels, as {model.name} has, do not fit tiles on a grid "
                f"of {GRID}; compute pictures whole, with a tile of 0"
            )
        if tile != 0 and self.cell % GRID:
            raise ValueRangeError(
                f"cells of {self.cell} pixels, as {model.name} has, do not fit tiles on a grid of {GRID}; "
                "compute pictures whole, with a tile of 0"
            )
        if tile != "auto":
            cut(1, 1, tile, cell=self.cell)  # complains now rather than at the first large picture
        self.batch: int | Literal["auto"] = batch
        if model.classes is not None:
            if model.calibration is None:
                raise UsageError(f"model {model.name} has classes, which need its calibrated thresholds")
            model.classes.classifier.to(self.device)
        self.network = model.network.to(self.device)
        self.engine = engine
        self.make_engine: Callable[[Model, torch.device], Engine | None] | None = None
        """Makes the same engine in another process; a function of a module, or a `partial` of one."""
        self._prepared: dict[torch.dtype, Prepared] = {}  # filled when first used
        self._crew: Crew | None = None

    def crew(self) -> Crew:
        """The processes that compute on several devices; they end with this object."""
        if self._crew is None:
            self._crew = Crew(self.model, self.devices, self.make_engine, precision=self.precision)
            weakref.finalize(self, self._crew.close)
        return self._crew

    def batches(self, plan: Plan, *, batch: int | None = None) -> list[tuple[int, ...]]:
        """Which tiles of a plan are computed together: their numbers.

        Args:
            plan: of a picture.
            batch: most tiles in one, instead of the upscaler's own.
        """
        return group(plan.tiles, batch_size(self, plan.tiles) if batch is None else batch, cell=self.cell)

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        return self.model.config.scale

    @property
    def is_prepared(self) -> bool:
        """Whether the network runs as `inference.prepared` has it: on CPUs, one tile at a time."""
        return (
            self.engine is None
            and self.device.type == "cpu"
            and self.precision != "fp16"
            and self.batch in ("auto", 1)
        )

    @property
    def backend(self) -> str:
        """What computes: "torch", or the name of a runtime."""
        return "torch" if self.engine is None else self.engine.name

    @property
    def auto_tile(self) -> int:
        """Largest side of a tile where the tile is "auto", in low pixels."""
        if self.engine is not None:
            side = self.engine.tile
        else:
            side = PREPARED_TILE if self.is_prepared else AUTO_TILE
        grid = self.cell or GRID
        return max(grid, side // grid * grid)

    def auto(self, height: int, width: int) -> int:
        """What the tile "auto" is for a picture: low pixels a side, or 0 for the picture whole."""
        if self.engine is not None:
            whole = self.engine.whole
        else:
            whole = PREPARED_WHOLE if self.is_prepared else AUTO_WHOLE
        return 0 if height * width <= whole else self.auto_tile

    def cut(self, height: int, width: int, tile: int, panorama: Panorama | None = None) -> tuple[Tile, ...]:
        """Cut a picture into this model's tiles.

        Args:
            height: low pixels.
            width: low pixels.
            tile: most low pixels a side that a tile owns; 0 for the whole picture.
            panorama: what it shows of a sphere; None for a flat one.
        """
        return tuple(cut(height, width, tile, cell=self.cell, beyond=Beyond.of(panorama)))

    @property
    def is_surveying(self) -> bool:
        """Whether pictures in tiles are looked at before, at most attention ratios."""
        return self.cell == 0 or self.model.calibration is None

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
            DeviceError: the process of one of several devices has ended.
        """
        if low.ndim != 3 or low.shape[0] != 3 or 0 in low.shape:
            raise ShapeError(f"expected an RGB image 3 x H x W, got {tuple(low.shape)}")
        bill = Bill(self.model.config, self.device, low.shape[1], low.shape[2], progress)

        def source(low: Tensor | Shared) -> Source:
            flat = _InMemory(low)
            return Spherical(flat, panorama, self.model.config.latitude) if panorama else flat

        plan = self.plan(source(low), bill, attention_ratio=attention_ratio, max_share=max_share)
        batches = self.batches(plan)
        shape = 3, self.scale * low.shape[1], self.scale * low.shape[2]
        with ExitStack() as shared:
            if len(self.devices) == 1 or len(batches) == 1:
                picture, high = source(low), np.empty(shape, np.float32)
                canvas = _HighInMemory(high, self.scale)
            else:
                picture = source(shared.enter_context(Shared.of(low.cpu().numpy())))
                result = shared.enter_context(Shared(shape))
                high, canvas = result.array, _HighInMemory(result, self.scale)
            for _ in shared.enter_context(
                closing(compute_tiles(self, plan, batches, picture, canvas, bill))
            ):
                pass
        return Enlarged(**vars(bill.cost()), high=torch.from_numpy(high))

    @torch.inference_mode()
    def policy(self, source: Source, attention_ratio: float) -> Policy | Classified:
        """How the model spends an attention ratio on a picture: by its windows' classes, if it has any.

        Args:
            source: the picture.
            attention_ratio: gamma in [0, 1].

        Raises:
            ValueRangeError: the ratio is out of range.
        """
        model = self.model
        if model.classes is None:
            return model.policy(attention_ratio)
        policies = model.class_policies(attention_ratio)
        window = model.config.window
        classes = classify(model.classes.classifier, source, window=window, device=self.device)
        return Classified(policies, classes)

    def policy_of(self, low: Tensor, attention_ratio: float) -> tuple[Policy, NDArray[np.int64] | None]:
        """The policy for an image that is computed whole, and of a ClassSR the classes of its windows.

        Args:
            low: 3 x H x W float32 in [0, 1].
            attention_ratio: gamma in [0, 1].
        """
        policy = self.policy(_InMemory(low), attention_ratio)
        if isinstance(policy, Classified):
            return policy.inside(policy.classes), policy.classes
        return policy, None

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
        policy = self.policy(source, attention_ratio)
        if isinstance(policy, Classified):
            bill.classified(policy.classes)
        pool: Pool = self.network.pool
        side = self.tile if tile is None else tile
        if side == "auto":
            side = self.auto(source.height, source.width)
        panorama = source.panorama
        tiles = self.cut(source.height, source.width, side, panorama)
        bill.expect(sum(each.pixels for each in tiles))

        def look(low: Tensor, policy: Policy, pool: Pool) -> Routing:
            watched = bill.watch(policy, low.shape[-2] * low.shape[-1])
            try:
                _, routing, _ = self.route(low, watched, pool)
            except (RuntimeError, MemoryError) as error:
                raise (_too_small(low) if _is_memory_shortage(error) else error) from error
            bill.ran_all(routing)
            return routing

        if len(tiles) > 1 and len(self.devices) > 1:
            self.crew().start()  # it loads meanwhile
        if len(tiles) > 1 and is_needed(policy, pool):
            sampled = patches(source.height, source.width)
            bill.expect(rounds(policy) * sum((y.stop - y.start) * (x.stop - x.start) for y, x in sampled))
            seen = survey(look, source, policy, window=self.model.config.window, pool=pool)
            policy, pool = seen.policy, seen.pool
        window = self.model.config.window
        allowed = None
        if max_share < 1.0:
            allowed = allow_best(look, source, max_share, window=window, tile=side)
        return Plan(source.height, source.width, tiles, policy, pool, window, allowed, panorama)

    @torch.inference_mode()
    def compute_batch(
        self, plan: Plan, tiles: Sequence[Tile], lows: Sequence[Tensor], watch: Watch
    ) -> list[list[Piece]]:
        """Compute tiles together, in smaller batches where the memory does not suffice.

        Args:
            plan: of the picture.
            tiles: some of its tiles, that compute equally many rows and columns.
            lows: for each, 1 x 3 x h x w, what it computes.
            watch: told how far they are.

        Returns:
            For each tile what `compute` returns.

        Raises:
            MemoryLimitError: the memory does not suffice for the smallest tile.
        """
        if len(tiles) == 1 or len({plan.pool_of(tile) for tile in tiles}) > 1:
            return [self.compute(plan, tile, low, watch) for tile, low in zip(tiles, lows, strict=True)]
        try:
            return [[piece] for piece in self._compute_together(plan, tiles, torch.cat(list(lows)), watch)]
        except (RuntimeError, MemoryError) as error:
            if not _is_memory_shortage(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(tiles) // 2
        return [
            pieces
            for part in (slice(half), slice(half, None))
            for pieces in self.compute_batch(plan, tiles[part], lows[part], watch)
        ]

    @torch.inference_mode()
    def compute(self, plan: Plan, tile: Tile, low: Tensor, watch: Watch) -> list[Piece]:
        """Compute one tile, in smaller ones where the memory does not suffice.

        Args:
            plan: of the picture.
            tile: one of its tiles.
            low: 1 x 3 x h x w, what the tile computes.
            watch: told how far it is.

        Returns:
            Pieces that together own what the tile owns: itself, as a rule.

        Raises:
            MemoryLimitError: the memory does not suffice for the smallest tile.
        """
        try:
            return [self._compute(plan, tile, low, watch)]
        except (RuntimeError, MemoryError) as error:
            if not _is_memory_shortage(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = halve(tile, plan.height, plan.width, cell=self.cell, beyond=Beyond.of(plan.panorama))
        if len(smaller) == 1:
            raise _too_small(low)
        pieces: list[Piece] = []
        for part in smaller:
            top, left = part.rows.start - tile.rows.start, part.columns.start - tile.columns.start
            inside = low[..., top : top + part.rows.length, left : left + part.columns.length]
            pieces += self.compute(plan, part, inside, watch)
        return pieces

    def _compute(self, plan: Plan, tile: Tile, low: Tensor, watch: Watch) -> Piece:
        policy = watch(plan.policy_of(tile), tile.pixels)
        high, routing, precision = self.route(low, policy, plan.pool_of(tile))
        return self._piece(plan, tile, high[0], routing.attended[:, 0], precision)

    def _compute_together(
        self, plan: Plan, tiles: Sequence[Tile], low: Tensor, watch: Watch
    ) -> list[Piece]:
        """`_compute` for tiles of one size; what fails in reduced precision is computed alone, in fp32."""
        image = low.to(self.device)
        policy = watch(plan.policy_of_batch(tiles), sum(tile.pixels for tile in tiles))
        pool = plan.pool_of(tiles[0])  # of all of them
        answer = None if self.engine is None else self.engine.route(low, policy, pool)
        high, routing = answer or self._route(image, policy, pool, self.precision, together=True)
        fine = _is_sane(high).tolist() if self.precision != "fp32" else [True] * len(tiles)
        pieces: list[Piece] = []
        for number, tile in enumerate(tiles):
            own, attended, precision = high[number], routing.attended[:, number], self.precision
            if not fine[number]:
                alone_policy = plan.policy_of(tile)
                again, alone = self._route(image[number : number + 1], alone_policy, pool, "fp32")
                own, attended, precision = again[0], alone.attended[:, 0], "fp32"
            pieces.append(self._piece(plan, tile, own, attended, precision))
        return pieces

    def _piece(self, plan: Plan, tile: Tile, high: Tensor, attended_by: Tensor, precision: str) -> Piece:
        """Take what a tile owns (`high` 3 x sh x sw, `attended_by` blocks x N)."""
        s, y, x = self.scale, tile.rows, tile.columns
        top, left = s * (y.own_start - y.start), s * (x.own_start - x.start)
        attended = attended_by.sum(dim=0).cpu().numpy()
        return Piece(
            tile,
            high[:, top : top + s * y.owned, left : left + s * x.owned].float().cpu(),
            of_owned(tile, attended, plan.window),
            precision,
            windows=attended.size,
            computed=int(attended.sum()),
        )

    @torch.inference_mode()
    def route(self, low: Tensor, policy: Policy, pool: Pool | None = None) -> tuple[Tensor, Routing, str]:
        """`CAMixerSR.route` on the device and in the precision of this upscaler.

        What comes out infinite, NaN or far outside [0, 1] in reduced precision is computed again in
        fp32.

        Args:
            low: 1 x 3 x h x w float32 in [0, 1]; a fourth channel as for `CAMixerSR.forward`.
            policy: who routes.
            pool: what channel attention knows of the image; the network's own by default.

        Returns:
            1 x 3 x sh x sw on the device, the routing, and the precision it was computed in.
        """
        image, pool = low.to(self.device), pool or self.network.pool
        flat = low.shape[1] == 3  # an engine's graph knows no latitude
        answer = self.engine.route(low, policy, pool) if self.engine is not None and flat else None
        high, routing = answer or self._route(image, policy, pool, self.precision)
        if self.precision == "fp32" or bool(_is_sane(high)):
            return high, routing, self.precision
        return *self._route(image, policy, pool, "fp32"), "fp32"

    def _route(
        self, image: Tensor, policy: Policy, pool: Pool, precision: str, *, together: bool = False
    ) -> tuple[Tensor, Routing]:
        """`route` in one precision, whatever comes out; for several images `together`."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        network, here = self.network, self.device.type == "cpu" and not together
        if isinstance(network, CAMixerSR) and here and dtype != torch.float16:
            if dtype not in self._prepared:
                self._prepared[dtype] = Prepared(network, dtype)
            return self._prepared[dtype].route(image, policy, pool=pool)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return self.network.route(image, policy, pool=pool, together=together)
