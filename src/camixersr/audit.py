"""Does routing follow content? An audit of what a checkpoint's predictor really does.

Two questions, and a router must earn both answers. *Does it follow content?* Busy images attend at least
twice what plain ones do, and few blocks send everything one way. *Does it pay?* With originals at hand,
the windows it chooses must give more than random ones (`camixersr.worth`).

How scores rank windows compared with local detail is told for information only: training asks for just
that, so it proves nothing. So is the rank correlation with the measured gain of single windows (how much a
window's error grows when this block convolves instead of attending, all else attended), and how far
the blocks' choices agree: blocks that all choose the same windows are one detector, many times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.data import Pair, Reduction, read_rgb
from camixersr.errors import InputError, ShapeError
from camixersr.image.encode import write
from camixersr.image.picture import Picture
from camixersr.inference.computer import Computer
from camixersr.models import Network
from camixersr.models.detail import window_detail
from camixersr.models.fixed import FixedWindows
from camixersr.models.network import pad_to_windows
from camixersr.nn.routing import Routing, TopShare
from camixersr.nn.windows import partition
from camixersr.routemap import render, render_blocks
from camixersr.tensors import from_array
from camixersr.worth import LEAST_DIAL, Worth, measure_worth

__all__ = [
    "Audit",
    "BlockAudit",
    "Observation",
    "audit",
    "audit_files",
    "measure_gain",
    "observe",
    "rank_correlation",
]

TWICE = (
    2.0  # what the busiest images attend, in multiples of what the plainest do, of a router that follows
)
ALIKE = 0.85  # agreement of blocks from which they are said to choose alike
NOTHING, ALL = 0.02, 0.98  # a block below or above this in every image does not choose


@dataclass(frozen=True)
class Observation:
    """What one image showed.

    Attributes:
        name: of the image.
        scores: blocks x N in [0, 1].
        attended: blocks x N bool.
        detail: N, logarithm of the gradient energy of each window.
        gain: blocks x N, see `measure_gain`; None where it was not measured.
        worth: of the choice; None where there is no original.
    """

    name: str
    scores: NDArray[np.float64]
    attended: NDArray[np.bool_]
    detail: NDArray[np.float64]
    gain: NDArray[np.float64] | None = None
    worth: Worth | None = None

    @property
    def share(self) -> float:
        """Share of windows attended, over all blocks."""
        return float(self.attended.mean())


@dataclass(frozen=True)
class BlockAudit:
    """One block over all images.

    Attributes:
        share: mean share attended under the policy.
        share_spread: standard deviation of its share from image to image.
        own: mean share of windows that its predictor by itself calls for attention: score above 1/2.
        score_spread: standard deviation of its scores inside an image, mean over images.
        detail: rank correlation of score and local detail, mean over images.
        gain: rank correlation of score and measured gain; None where that was not measured.
        all_or_nothing: by that own choice, (nearly) all or no windows, in every image alike.
    """

    share: float
    share_spread: float
    own: float
    score_spread: float
    detail: float
    gain: float | None
    all_or_nothing: bool


@dataclass(frozen=True)
class Audit:
    """The result.

    Attributes:
        blocks: first to last.
        images: name and attended share of each image.
        plain_share: mean attended share of the plainest tenth of the images (one at least).
        busy_share: of the busiest tenth.
        detail: mean over blocks of the rank correlation with detail.
        gain: with measured gain, or None.
        collapsed: number of all-or-nothing blocks.
        agreement: share of windows on which two blocks choose alike, mean over pairs of blocks and images;
            None where there is one block.
        worth: of the choice, mean over images; None where there were no originals.
        follows: whether the shares follow content.
    """

    blocks: tuple[BlockAudit, ...]
    images: tuple[tuple[str, float], ...]
    plain_share: float
    busy_share: float
    detail: float
    gain: float | None
    collapsed: int
    agreement: float | None
    worth: Worth | None
    follows: bool

    @property
    def pays(self) -> bool | None:
        """Whether chosen windows give more than random ones; None where that was not measured."""
        return None if self.worth is None else self.worth.pays

    @property
    def verdict(self) -> str:
        """One line: what the shares say, and what the choice is worth."""
        shares = (
            f"routing {'follows' if self.follows else 'does not follow'} content: the plainest images "
            f"attend {100 * self.plain_share:.0f} %, the busiest {100 * self.busy_share:.0f} %, "
            f"{self.collapsed} of {len(self.blocks)} blocks are all or nothing"
        )
        return f"{shares}{self._alike()}; {self._worth()}"

    def _alike(self) -> str:
        if self.agreement is None or self.agreement < ALIKE:
            return ""
        return f", and blocks choose alike on {100 * self.agreement:.0f} % of windows"

    def _worth(self) -> str:
        worth = self.worth
        if worth is None:
            return "whether attention pays was not measured (it takes originals)"
        dial = f"all of it gives {worth.dial:+.3f} dB"
        choice = (
            f"chosen windows {worth.choice:+.3f} dB over random ones, "
            f"{worth.blocks - worth.random:+.3f} of it by the choice of blocks"
        )
        if worth.dial < LEAST_DIAL:
            return f"attention does not pay: {dial}, {choice}"
        return f"attention pays{' where it goes' if worth.pays else ', chosen or not'}: {dial}, {choice}"


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2.0)[inverse]


def rank_correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; 0 where one side is constant and so ranks nothing.

    Args:
        one: N values.
        two: N values.

    Returns:
        In [-1, 1].
    """
    a, b = _ranks(one), _ranks(two)
    if a.std() == 0.0 or b.std() == 0.0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def observe(
    name: str,
    low: Tensor,
    routing: Routing,
    *,
    window: int,
    gain: Tensor | None = None,
    worth: Worth | None = None,
) -> Observation:
    """Turn the routing of one image into numbers.

    Args:
        name: of the image.
        low: 1 x 3 x H x W in [0, 1].
        routing: of that image.
        window: side M of a window, in low pixels.
        gain: blocks x N, if measured.
        worth: likewise.

    Returns:
        The observation.

    Raises:
        ShapeError: a batch of more than one image.
    """
    if len(low) != 1:
        raise ShapeError(f"expected one image, 1 x 3 x H x W, got {tuple(low.shape)}")
    return Observation(
        name,
        torch.stack([block.scores[0] for block in routing.blocks]).double().cpu().numpy(),
        routing.attended[:, 0].cpu().numpy(),
        window_detail(pad_to_windows(low, window), window)[0].double().cpu().numpy(),
        None if gain is None else gain.double().cpu().numpy(),
        worth,
    )


@torch.inference_mode()
def measure_gain(
    network: Network,
    low: Tensor,
    high: Tensor,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """How much each window gains from attention in each block, measured.

    One pass attends everything; then, for each block, a pass attends everything but that block. A
    window's gain is by how much its mean absolute error is larger in the second.

    Args:
        network: on the device of the images.
        low: 1 x 3 x H x W in [0, 1].
        high: 1 x 3 x sH x sW, the original.
        progress: told passes done and passes in all.

    Returns:
        blocks x N; positive where attention helps.
    """
    M = network.config.window
    side = M * network.config.scale

    def error(result: Tensor) -> Tensor:
        difference = (result.clamp(0.0, 1.0) - high).abs().mean(dim=1, keepdim=True)
        present = torch.ones_like(difference)
        pad = (0, -difference.shape[-1] % side, 0, -difference.shape[-2] % side)
        total, count = (
            partition(torch.nn.functional.pad(each, pad).permute(0, 2, 3, 1), side).sum(dim=(2, 3))
            for each in (difference, present)
        )
        return (total / count)[0]

    full, routing = network.route(low, TopShare(1.0))
    best = error(full)
    everything = [block.attended for block in routing.blocks]
    gains: list[Tensor] = []
    for number in range(network.block_count):
        masks = list(everything)
        masks[number] = torch.zeros_like(masks[number])
        gains.append(error(network(low, FixedWindows(tuple(masks)))) - best)
        if progress is not None:
            progress(number + 1, network.block_count)
    return torch.stack(gains)


def audit(observations: Sequence[Observation]) -> Audit:
    """Judge a router by what it did to some images.

    Routing follows content if the busiest tenth of the images attends at least twice what the plainest
    tenth does, and at most a tenth of the blocks send everything one way. See `Worth.pays` for the rest.

    Args:
        observations: of one network at one attention ratio; the more images the better.

    Returns:
        The audit.

    Raises:
        ShapeError: no observations, or of networks with different numbers of blocks.
    """
    counts = {len(each.scores) for each in observations}
    if len(counts) != 1:
        raise ShapeError(f"expected observations of one network, got block counts {sorted(counts)}")
    blocks: list[BlockAudit] = []
    for number in range(counts.pop()):
        shares = [float(each.attended[number].mean()) for each in observations]
        own = [float((each.scores[number] > 0.5).mean()) for each in observations]
        gains = [
            rank_correlation(each.scores[number], each.gain[number])
            for each in observations
            if each.gain is not None
        ]
        blocks.append(
            BlockAudit(
                share=fmean(shares),
                share_spread=pstdev(shares),
                own=fmean(own),
                score_spread=fmean(float(each.scores[number].std()) for each in observations),
                detail=fmean(rank_correlation(each.scores[number], each.detail) for each in observations),
                gain=fmean(gains) if gains else None,
                all_or_nothing=max(own) < NOTHING or min(own) > ALL,
            )
        )
    by_detail = sorted(observations, key=lambda each: float(each.detail.mean()))
    tenth = max(1, len(by_detail) // 10)
    detail = fmean(block.detail for block in blocks)
    measured = [block.gain for block in blocks if block.gain is not None]
    gain = fmean(measured) if measured else None
    collapsed = sum(block.all_or_nothing for block in blocks)
    plain, busy = (fmean(each.share for each in some) for some in (by_detail[:tenth], by_detail[-tenth:]))
    worths = [each.worth for each in observations if each.worth is not None]
    return Audit(
        blocks=tuple(blocks),
        images=tuple((each.name, each.share) for each in observations),
        plain_share=plain,
        busy_share=busy,
        detail=detail,
        gain=gain,
        collapsed=collapsed,
        agreement=fmean(map(_agreement, observations)) if len(blocks) > 1 else None,
        worth=Worth.mean(worths) if worths else None,
        follows=busy > 0.0 and busy >= TWICE * plain and collapsed <= len(blocks) / 10,
    )


def audit_files(
    computer: Computer,
    files: Sequence[Path],
    *,
    attention_ratio: float,
    reduction: Reduction | None = None,
    high: Path | None = None,
    gain: bool = False,
    output: Path | None = None,
    trouble: Callable[[str], None] = lambda line: None,
) -> Audit:
    """Audit a model on pictures in files.

    Args:
        computer: the model, and where it computes.
        files: low pictures; or originals, if a reduction is given.
        attention_ratio: in [0, 1].
        reduction: makes the low pictures.
        high: folder with the originals, of the same names, if none is given.
        gain: also measure the gain of attending; takes originals.
        output: folder for pictures of the routes and of the scores.
        trouble: told, in a line, of each picture that cannot be read; it is left out.

    Returns:
        The audit.

    Raises:
        InputError: no picture could.
        OutputError: a picture cannot be written.
    """
    network, window = computer.model.network, computer.model.config.window
    seen: list[Observation] = []
    for path in files:
        original = None
        try:
            if reduction is not None:
                pixels, original = Pair(path.stem, path, None, reduction).read(computer.scale)
            elif high is not None:
                pixels, original = Pair(path.stem, high / path.name, path).read(computer.scale)
            else:
                pixels = read_rgb(path)
        except InputError as error:
            trouble(str(error))
            continue
        low = from_array(pixels)[None].to(computer.device)
        policy, classes = computer.policy_of(from_array(pixels).numpy(), attention_ratio)
        gains = worth = None
        if original is None:
            _, routing = network.route(low, policy)
        else:
            planes = from_array(original)[None].to(computer.device)
            worth, routing = measure_worth(network, low, planes, policy)
            gains = measure_gain(network, low, planes) if gain else None
        observation = observe(path.stem, low, routing, window=window, gain=gains, worth=worth)
        seen.append(observation)
        if output is not None:
            grid = (routing.rows, routing.columns)
            overall = observation.attended.mean(axis=0).reshape(grid)
            drawn = {
                "routes": render(
                    pixels, overall, side=window, attention_share=observation.share, classes=classes
                ),
                "scores": render_blocks(observation.scores.reshape(-1, *grid)),
            }
            for name, canvas in drawn.items():
                write(output / f"{path.stem}_{name}.png", Picture(np.asarray(canvas)))
    if not seen:
        raise InputError("no image could be audited")
    return audit(seen)


def _agreement(observation: Observation) -> float:
    """Share of windows on which two blocks choose alike, mean over all pairs of blocks."""
    blocks = len(observation.attended)
    attend = observation.attended.sum(axis=0)
    pairs = (attend * (attend - 1) + (blocks - attend) * (blocks - attend - 1)) / (blocks * (blocks - 1))
    return float(pairs.mean())
