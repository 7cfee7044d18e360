"""What computes pictures with one model: RGB planes in, RGB planes out, whole or in tiles, on any devices.

Each picture is planned (tiles, and what they are told of each other), surveyed where that is needed, and
computed batch by batch onto a canvas. What a person holds pictures in is no matter of this floor: see
`camixersr.enlarge`.
"""

import logging
import weakref
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.choose import Precision, make, usual
from camixersr.backends.devices import devices_of
from camixersr.backends.protocol import Backend, Planes, Routed
from camixersr.errors import ShapeError, UsageError, ValueRangeError
from camixersr.image.panorama import Panorama
from camixersr.inference.before import Before
from camixersr.inference.branches import run_branches
from camixersr.inference.compute import route_sanely, too_small
from camixersr.inference.cost import Bill, Cost, Done, Progress
from camixersr.inference.memory import Memory
from camixersr.inference.pace import NUMBERS, Pace, Speed
from camixersr.inference.plan import Plan, classify
from camixersr.inference.policies import Classified
from camixersr.inference.schedule import Batch, compute_here
from camixersr.inference.shared import Shared
from camixersr.inference.sources import Canvas, HighInMemory, InMemory, NewHigh, Source
from camixersr.inference.sphere import Spherical
from camixersr.inference.survey import allow_best, is_needed, patches, rounds, survey
from camixersr.inference.tiles import GRID, Beyond, Tile, cut, group
from camixersr.inference.workers import Workers
from camixersr.nn.pool import Pool
from camixersr.nn.routing import Policy
from camixersr.weights import Model

if TYPE_CHECKING:
    from camixersr.backends.classes import PatchClasses

__all__ = ["Computer", "Enlarged"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Enlarged(Cost):
    """An enlargement and what it cost.

    Attributes:
        high: 3 x sH x sW float32, nominally in [0, 1], not clamped.
    """

    high: Planes


class Computer:
    """Computes pictures with one model; what computes is chosen here, and nothing is set afterwards.

    Args:
        model: from `camixersr.catalogue.find` or `camixersr.weights`.
        backend: of `camixersr.backends.choose.BACKENDS`; "auto": native where it computes the model,
            else torch; or "fastest", which is measured, see `camixersr.backends.fastest`.
        device: "auto" takes the first of cuda, mps and cpu that is there; several ("cuda:0,cuda:1",
            "all") share the tiles of each picture, each in a process of its own, which ends with this
            object (a script needs `if __name__ == "__main__":` around what it does then).
        precision: "auto" is fp32; bf16 and fp16 are reduced, recomputed in fp32 where they overflow.
        tile: low pixels a tile, a multiple of the side of the cells that the model pools over (64 for
            the embedded ones), or of 16 from 64 up; 0 computes any picture whole; "auto" follows from
            `Limits`: on the CPU pictures above 736 x 736 low pixels are cut into tiles of up to 640,
            elsewhere those above 512 x 512 into tiles of up to 320. Each is computed with 80 pixels
            around it, or 48 where there are no cells.
        batch: tiles of a picture that are computed at once; "auto" is one on the CPU, and as many as
            a half of an accelerator's memory is expected to hold.
        say: told, in a line each, if backends are measured now, and what came of it.
        progress: told meanwhile how many seconds that has taken, and how many it takes at most.

    Raises:
        CamixerError: an option that does not fit, is not to be had here, or a ClassSR without thresholds.
    """

    def __init__(
        self,
        model: Model,
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        tile: int | Literal["auto"] = "auto",
        batch: int | Literal["auto"] = "auto",
        say: Callable[[str], None] = lambda line: None,
        progress: Callable[[float, float], None] = lambda done, total: None,
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
        self.batch: int | Literal["auto"] = batch
        self.cell = model.config.pool
        """Side of the cells that tiles are aligned to, in low pixels; 0 for none."""
        self._require_grid()
        batched = batch not in ("auto", 1)
        if backend == "auto":
            backend = usual(model, device=self.device, precision=precision, batched=batched)
        if backend == "fastest":
            from camixersr.backends.fastest import choose

            backend = choose(
                model, device=self.device, precision=self.precision, say=say, progress=progress
            ).backend
        self.backend: Backend = make(
            model, backend, device=self.device, precision=precision, batched=batched
        )
        self.memory = Memory(
            self.backend.limits, self.devices, model.config.channels, model.config.scale, self.cell
        )
        self._classifier: PatchClasses | None = None
        self._branches: tuple[Computer, ...] = ()
        if model.classes is not None:
            if model.branches:
                self._branches = tuple(
                    Computer(
                        replace(model, source=each, classes=None, branches=()),
                        backend=backend,
                        device=self.device,
                        precision=precision,
                        tile=tile,
                        batch=batch,
                    )
                    for each in model.branches
                )
            elif model.calibration is None:
                raise UsageError(f"model {model.name} has classes, which need its calibrated thresholds")
            from camixersr.backends import classes

            self._classifier = classes.PatchClasses(model.classes.classifier, self.device)
        self.workers: Workers | None = None
        """The processes that compute on several devices; they end with this object."""
        if len(self.devices) > 1:
            self.workers = Workers(model, backend, self.devices, self.precision)
            weakref.finalize(self, self.workers.close)

    def _require_grid(self) -> None:
        """Complain of tiles that cannot be cut, now rather than at the first large picture."""
        name, window = self.model.name, self.model.config.window
        for what, side, odd in (("windows", window, GRID % window), ("cells", self.cell, self.cell % GRID)):
            if self.tile != 0 and odd:
                raise ValueRangeError(
                    f"{what} of {side} pixels, as {name} has, do not fit tiles on a grid of {GRID}; "
                    "compute pictures whole, with a tile of 0"
                )
        if self.tile != "auto":
            cut(1, 1, self.tile, cell=self.cell)

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        return self.model.config.scale

    def auto(self, height: int, width: int) -> int:
        """What the tile "auto" is for a picture: low pixels a side, or 0 for the picture whole."""
        return 0 if height * width <= self.backend.limits.whole else self.memory.auto_tile

    def cut(self, height: int, width: int, tile: int, panorama: Panorama | None = None) -> tuple[Tile, ...]:
        """Cut a picture into this model's tiles.

        Args:
            height: low pixels.
            width: low pixels.
            tile: most low pixels a side that a tile owns; 0 for the whole picture.
            panorama: what it shows of a sphere; None for a flat one.
        """
        return tuple(cut(height, width, tile, cell=self.cell, beyond=Beyond.of(panorama)))

    def batch_of(self, tiles: Sequence[Tile]) -> int:
        """How many tiles of a picture are computed at once."""
        if not self.backend.limits.together:
            return 1
        return self.memory.batch(tiles) if self.batch == "auto" else self.batch

    def batches(self, plan: Plan, *, batch: int | None = None) -> list[Batch]:
        """Which tiles of a plan are computed together: their numbers.

        Args:
            plan: of a picture.
            batch: most tiles in one, instead of the computer's own.
        """
        return group(plan.tiles, self.batch_of(plan.tiles) if batch is None else batch, cell=self.cell)

    @property
    def is_surveying(self) -> bool:
        """Whether pictures in tiles are looked at before, at most attention ratios."""
        return self.cell == 0 or self.model.calibration is None

    def run(
        self,
        low: Planes,
        *,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        progress: Progress | None = None,
        panorama: Panorama | None = None,
        pacing: tuple[Speed, float] | None = None,
        before: Before | None = None,
    ) -> Enlarged:
        """Compute one RGB image, and tell what it cost.

        Args:
            low: 3 x H x W float32 in [0, 1].
            attention_ratio: gamma in [0, 1]; None for what the model recommends.
            max_share: most windows that may be attended in any block, as a share of all.
            progress: told how far it is.
            panorama: what the image shows of a sphere; None for a flat one.
            pacing: as for `plan`.
            before: of pictures that follow one another, the last: what is the same in both, to the bit, is
                not computed again. It remembers this one for the next.

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
        if self._branches and self.model.classes is not None and self._classifier is not None:
            if panorama is not None or max_share < 1.0:
                raise UsageError(
                    f"model {self.model.name} has a network for each class, and takes flat pictures and no "
                    "limit to their windows"
                )
            ratios = self.model.classes.at(self.model.ratio(attention_ratio))
            branched = run_branches(self._branches, self._classifier, low, ratios)
            return Enlarged(**vars(branched.cost), high=branched.high)
        bill = Bill(self.model.config, self.device, low.shape[1], low.shape[2], progress)

        def source(low: Planes | Shared) -> Source:
            flat = InMemory(low)
            return Spherical(flat, panorama, self.model.config.latitude) if panorama else flat

        plan = self.plan(
            source(low), bill, attention_ratio=attention_ratio, max_share=max_share, pacing=pacing
        )
        batches = self.batches(plan, batch=None if pacing is None else 1)
        logger.debug(
            "%d x %d by %s on %s in %s: %d pieces",
            *(low.shape[2], low.shape[1], self.model.name, ",".join(self.devices), self.precision),
            sum(map(len, batches)),
        )
        shape = 3, self.scale * low.shape[1], self.scale * low.shape[2]
        done: list[Done] = []
        same = () if before is None else before.same(plan, batches, low)
        todo = [batch for batch in batches if batch not in same]
        with ExitStack() as shared:
            if len(self.devices) == 1 or len(todo) < 2:
                picture, canvas = source(low), NewHigh(shape, self.scale)
            else:
                picture = source(shared.enter_context(Shared.of(low)))
                canvas = HighInMemory(shared.enter_context(Shared(shape)), self.scale)
            if before is not None and same:
                done += before.take(plan, same, canvas.array)
                for each in done:
                    bill.reuse(plan.tiles[each.number], each)
            if todo:
                for batch in shared.enter_context(
                    closing(self.compute_tiles(plan, todo, picture, canvas, bill))
                ):
                    done += batch
            high = canvas.array
            if before is not None:
                before.reused = sum(map(len, same))
                before.keep(plan, batches, low, high, done)
        return Enlarged(**vars(bill.cost()), high=high)

    def compute_tiles(
        self, plan: Plan, batches: Sequence[Batch], source: Source, canvas: Canvas, bill: Bill
    ) -> Generator[list[Done]]:
        """Compute batches of tiles, on all devices.

        Args:
            plan: of the picture.
            batches: what is to be done, from `batches`.
            source: the picture, which is read in a thread, one call at a time; several devices each get
                a copy of it, made by pickling.
            canvas: where results go; likewise.
            bill: where it is counted.

        Yields:
            Of each batch what was done, once it is kept; on one device in the order given.

        Raises:
            MemoryLimitError: the memory does not suffice for the smallest tile.
            DeviceError: the process of a device has ended.
        """
        if self.workers is None or len(batches) == 1:
            done = compute_here(self.backend, plan, iter(batches), source, canvas, bill.watch)
        else:
            done = self.workers.share(plan, batches, source, canvas, bill)
        with closing(done):
            for batch in done:
                for each in batch:
                    bill.tile(plan.tiles[each.number], each)
                yield batch

    def policy(self, source: Source, attention_ratio: float | None) -> Policy | Classified:
        """How the model spends an attention ratio on a picture: by its windows' classes, if it has any.

        Args:
            source: the picture.
            attention_ratio: gamma in [0, 1]; None for what the model recommends.

        Raises:
            ValueRangeError: the ratio is out of range.
            UsageError: the model has a network a class, and is more than one policy.
        """
        if self._branches:
            raise UsageError(
                f"model {self.model.name} has a network of its own for each class; it is for pictures in "
                "memory: `camixersr evaluate` and `camixersr reproduce`"
            )
        if self._classifier is None:
            return self.model.policy(self.model.ratio(attention_ratio))
        policies = self.model.class_policies(self.model.ratio(attention_ratio))
        return Classified(policies, classify(self._classifier, source, window=self.model.config.window))

    def policy_of(self, low: Planes, ratio: float | None) -> tuple[Policy, NDArray[np.int64] | None]:
        """The policy for an image that is computed whole, and of a ClassSR the classes of its windows.

        Args:
            low: 3 x H x W float32 in [0, 1].
            ratio: gamma in [0, 1]; None for what the model recommends.
        """
        policy = self.policy(InMemory(low), ratio)
        if isinstance(policy, Classified):
            return policy.inside(policy.classes), policy.classes
        return policy, None

    def route(self, low: Planes, policy: Policy, pool: Pool | None = None) -> tuple[Routed, str]:
        """Compute one piece, whole: `Backend.route`, and the precision that it was computed in.

        Args:
            low: 1 x 3 x h x w float32 in [0, 1]; a fourth channel as for `CAMixerSR.forward`.
            policy: who routes.
            pool: what channel attention knows of the image; the network's own by default.
        """
        return route_sanely(self.backend, low, policy, pool or self.model.pool)

    def plan(
        self,
        source: Source,
        bill: Bill,
        *,
        attention_ratio: float | None,
        max_share: float = 1.0,
        tile: int | None = None,
        pacing: tuple[Speed, float] | None = None,
        there: Collection[int] = (),
    ) -> Plan:
        """Settle how a picture will be computed; see `camixersr.inference.survey`.

        Args:
            source: the picture.
            bill: where the first look is counted.
            attention_ratio: gamma in [0, 1]; None for what the model recommends.
            max_share: most windows that may be attended in any block, as a share of all.
            tile: instead of the computer's own.
            pacing: for a deadline, what was measured on one device, and when all must be done, of
                `time.monotonic`: the ratio is then only where the choice begins. Tiles must be computed
                one at a time on each device.
            there: numbers of tiles that need not be computed any more.

        Returns:
            The plan: tiles, routing and what channel attention knows of the whole.

        Raises:
            ValueRangeError: a number is out of range.
            MemoryLimitError: the memory does not suffice for a look.
        """
        if not 0.0 <= max_share <= 1.0:
            raise ValueRangeError(f"max share must lie in [0, 1], got {max_share}")
        policy = self.policy(source, attention_ratio)
        if isinstance(policy, Classified):
            bill.classified(policy.classes)
        pool: Pool = self.model.pool
        side = self.tile if tile is None else tile
        if side == "auto":
            side = self.auto(source.height, source.width)
        panorama = source.panorama
        tiles = self.cut(source.height, source.width, side, panorama)
        bill.expect(sum(each.pixels for each in tiles))

        def look(low: Planes, policy: Policy, pool: Pool) -> Routed:
            step = bill.watch(low.shape[-2] * low.shape[-1])
            try:
                routed, _ = route_sanely(self.backend, low, policy, pool, step)
            except MemoryError as error:
                raise too_small(low) from error
            bill.looked(routed)
            return routed

        if len(tiles) > 1 and self.workers is not None:
            self.workers.start()  # they load meanwhile
        window = self.model.config.window
        ratios: list[Policy | Classified] = []
        if len(tiles) > 1 and is_needed(policy, pool):
            sampled = patches(source.height, source.width)
            bill.expect(rounds(policy) * sum((y.stop - y.start) * (x.stop - x.start) for y, x in sampled))
            seen = survey(look, source, policy, window=window, pool=pool)
            if rounds(policy) > 1 and pacing is not None:
                ratios = [seen.at(number / 100) for number in range(NUMBERS)]
            policy, pool = seen.policy, seen.pool
        allowed = None
        if max_share < 1.0:
            allowed = allow_best(self.backend.score, source, max_share, window=window, tile=side)
        plan = Plan(source.height, source.width, tiles, policy, pool, window, allowed, panorama)
        if pacing is None:
            return plan
        todo = tuple(each for number, each in enumerate(tiles) if number not in there)
        pace = Pace(
            ratios or [self._at(number / 100, policy) for number in range(NUMBERS)],
            pacing[0],
            sum(self.model.config.blocks),
            pacing[1],
            todo,
            devices=min(len(self.devices), max(1, len(todo))),
            most=max_share,
        )
        return replace(plan, pace=pace)

    def _at(self, ratio: float, like: Policy | Classified) -> Policy | Classified:
        """The policy of another ratio, for the same picture."""
        if isinstance(like, Classified):
            return Classified(self.model.class_policies(ratio), like.classes)
        return self.model.policy(ratio)
