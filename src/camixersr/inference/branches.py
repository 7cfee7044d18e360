"""A ClassSR whose classes have networks of their own: each computes its class's part of a picture.

A network that sees a patch of 32 x 32 alone sees no surroundings, and neighbours do not fit. So each one
computes its patches inside the picture, as any other does: whole, or in the tiles that hold one of its
patches. What that costs is counted; where classes are spread over a picture, it is more than one network
costs.

Differs from the paper's code: there each patch is enlarged alone, with an overlap of 4 pixels, and results
are averaged. `camixersr.evaluation.paper_tiles` does that.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.protocol import Planes
from camixersr.inference.cost import Bill, Cost, Done
from camixersr.inference.plan import Plan
from camixersr.inference.schedule import Batch
from camixersr.inference.sources import Canvas, HighInMemory, InMemory, Source
from camixersr.models.classes import PATCH
from camixersr.operations import count_classifier
from camixersr.weights import Model

if TYPE_CHECKING:
    from camixersr.backends.classes import PatchClasses

__all__ = ["Branch", "Branched", "run_branches"]


class Branch(Protocol):
    """What computes a class's part of a picture: a `Computer`, and the methods are its."""

    model: Model
    device: str

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side."""
        ...

    def plan(self, source: Source, bill: Bill, *, attention_ratio: float) -> Plan:
        """How the picture is computed."""
        ...

    def batches(self, plan: Plan) -> list[Batch]:
        """Its tiles, in batches."""
        ...

    def compute_tiles(
        self, plan: Plan, batches: Sequence[Batch], source: Source, canvas: Canvas, bill: Bill
    ) -> Generator[list[Done]]:
        """Compute batches."""
        ...


@dataclass(frozen=True)
class Branched:
    """What came of a picture.

    Attributes:
        high: 3 x sH x sW float32.
        cost: of all networks and the classifier together.
    """

    high: Planes
    cost: Cost


def _pixels(patches: NDArray[np.bool_], side: int, height: int, width: int) -> NDArray[np.bool_]:
    """A mask of patches as one of pixels."""
    return patches.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


def run_branches(
    computers: Sequence[Branch], classifier: "PatchClasses", low: Planes, ratios: Sequence[float]
) -> Branched:
    """Compute a picture.

    Args:
        computers: of each class's network, all of one scale.
        classifier: tells the class of every patch.
        low: 3 x H x W float32 in [0, 1].
        ratios: attention ratio of each class.

    Returns:
        The picture, and what it cost.

    Raises:
        MemoryLimitError: the memory does not suffice.
    """
    _, height, width = low.shape
    s = computers[0].scale
    patches = classifier.of_patches(low[None])[0]
    window = computers[0].model.config.window
    rows, columns = -(-height // window), -(-width // window)
    classes = classifier.of_windows(patches[None], rows, columns, window)
    high = np.empty((3, s * height, s * width), np.float32)
    shares = np.zeros((rows, columns))
    costs: list[Cost] = []
    for number, computer in enumerate(computers):
        own = patches == number
        if not own.any():
            continue
        mine = _pixels(own, PATCH, height, width)
        bill = Bill(computer.model.config, computer.device, height, width)
        source = InMemory(low)
        plan = computer.plan(source, bill, attention_ratio=ratios[number])
        wanted = {
            place
            for place, tile in enumerate(plan.tiles)
            if mine[
                tile.rows.own_start : tile.rows.own_stop, tile.columns.own_start : tile.columns.own_stop
            ].any()
        }
        batches = [tuple(place for place in batch if place in wanted) for batch in computer.batches(plan)]
        made = np.empty_like(high)
        canvas = HighInMemory(made, s)
        with closing(
            computer.compute_tiles(plan, [each for each in batches if each], source, canvas, bill)
        ) as done:
            for _ in done:
                pass
        where = mine.repeat(s, axis=0).repeat(s, axis=1)
        np.copyto(high, made, where=where)
        costs.append(bill.cost())
        shares = np.where(classes == number, costs[-1].shares, shares)
    patches_in_all = -(-height // PATCH) * -(-width // PATCH)
    peaks = [each.peak_memory_bytes for each in costs if each.peak_memory_bytes is not None]
    return Branched(
        high,
        Cost(
            shares=shares,
            attention_share=float(shares.mean()),
            macs=sum(each.macs for each in costs) + count_classifier(patches_in_all),
            tiles=sum(each.tiles for each in costs),
            seconds=sum(each.seconds for each in costs),
            peak_memory_bytes=max(peaks, default=None),
            precision=min((each.precision for each in costs), key=("bf16", "fp16", "fp32").index),
            classes=classes,
        ),
    )
