"""How narrow to make a network, and of what, so that a target is met with the least damage.

The damage of narrowing one width is measured: the mean square by which the network's pictures change.
What three widths cost together is taken to be the sum of what each costs alone, which holds for small
errors that know nothing of each other; every combination can then be looked at.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from camixersr.backends.folded import Folded
from camixersr.errors import ValueRangeError
from camixersr.metrics import decibels
from camixersr.models import CAMixerSR, CAMixerSRConfig
from camixersr.nn.routing import TopShare
from camixersr.operations import macs_at_720p
from camixersr.prune.narrow import Seen, narrow, observe, widths

__all__ = ["Costs", "Pruned", "Quantity", "choose", "costs", "damages", "seconds", "shrink", "words"]

Quantity = Literal["macs", "parameters", "seconds"]

STEP = 4
"""Widths that are tried are multiples of this, as vector units like them."""

ROUNDS = 3
"""Computations that a measurement of seconds is the median of, after one to warm up."""

HALVINGS = 5
"""How often the range of MACs is halved in search of a time."""

Damages = Mapping[str, Mapping[int, float]]
"""By the name of a width, and by that width: the mean square of what changes in the pictures."""


@dataclass(frozen=True)
class Costs:
    """What a network takes.

    Attributes:
        parameters: weights.
        macs: multiply-adds of an output of 1280 x 720, at the attention ratio that was asked for.
        seconds: of a low picture of 256 x 192 pixels, computed on this machine's CPU in one piece.
    """

    parameters: int
    macs: int
    seconds: float


@dataclass(frozen=True)
class Pruned:
    """A network that was made smaller.

    Attributes:
        network: in evaluation mode, gradients off.
        before: what the network took.
        after: what it takes now; seconds measured in turns with those before.
        change_db: PSNR of its pictures against those of the network before, peak 1.
        damages: that the choice was made by.
    """

    network: CAMixerSR
    before: Costs
    after: Costs
    change_db: float
    damages: Damages


def _compute(network: CAMixerSR, low: Tensor, share: float) -> Tensor:
    return Folded(network).route(low, TopShare(share))[0]


def damages(network: CAMixerSR, seen: list[Seen], low: Tensor, share: float) -> Damages:
    """Measure what narrowing does to the pictures, one width at a time.

    Args:
        network: to be narrowed.
        seen: of its blocks.
        low: B x 3 x H x W in [0, 1].
        share: of windows attended.

    Returns:
        For each of the three widths: multiples of `STEP`, and what it is now, which does no damage.
    """
    now = widths(network)
    expected = _compute(network, low, share)
    found: dict[str, dict[int, float]] = {}
    for name, width in now.items():
        found[name] = {width: 0.0}
        for narrower in range(width - 1 - (width - 1) % STEP, 0, -STEP):
            result = _compute(narrow(network, seen, **{**now, name: narrower}), low, share)
            found[name][narrower] = float((result - expected).double().square().mean())
    return found


def choose(measured: Damages, cost: Callable[[dict[str, int]], float], limit: float) -> dict[str, int]:
    """Find the combination of widths that does the least damage within a limit.

    Args:
        measured: by width.
        cost: of a combination.
        limit: of the cost.

    Returns:
        The combination; of equals, the widest.

    Raises:
        ValueRangeError: even the narrowest exceeds the limit.
    """

    def harm(combination: tuple[int, ...]) -> tuple[float, int]:
        together = sum(measured[name][width] for name, width in zip(measured, combination, strict=True))
        return together, -sum(combination)

    for combination in sorted(itertools.product(*measured.values()), key=harm):
        chosen = dict(zip(measured, combination, strict=True))
        if cost(chosen) <= limit:
            return chosen
    narrowest = {name: min(by_width) for name, by_width in measured.items()}
    widest = _widest(measured, cost)
    raise ValueRangeError(
        f"the narrowest network ({words(narrowest)}) keeps {cost(narrowest) / widest:.3f}, more than "
        f"{limit / widest:g}; ask for a greater share"
    )


def _widest(measured: Damages, cost: Callable[[dict[str, int]], float]) -> float:
    return cost({name: max(by_width) for name, by_width in measured.items()})


def words(chosen: Mapping[str, int]) -> str:
    """Widths in a line."""
    return ", ".join(f"{name} {width}" for name, width in chosen.items())


def seconds(networks: Sequence[CAMixerSR], share: float) -> list[float]:
    """Measure networks in turns.

    Args:
        networks: of one kind.
        share: of windows attended; which ones does not matter to the time.

    Returns:
        For each the median, for a low picture of 256 x 192 pixels.
    """
    low = torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(0))
    prepared = [Folded(network) for network in networks]
    took: list[list[float]] = [[] for _ in networks]
    for _ in range(ROUNDS + 1):
        for each, times in zip(prepared, took, strict=True):
            began = time.perf_counter()
            each.route(low, TopShare(share))
            times.append(time.perf_counter() - began)
    return [median(times[1:]) for times in took]


def costs(networks: Sequence[CAMixerSR], share: float) -> list[Costs]:
    """What networks take, seconds measured in turns."""
    return [
        Costs(_parameters(network.config), macs_at_720p(network.config, share), time)
        for network, time in zip(networks, seconds(networks, share), strict=True)
    ]


def _parameters(config: CAMixerSRConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in CAMixerSR(config).parameters())


def shrink(
    network: CAMixerSR,
    low: Tensor,
    *,
    of: Quantity,
    to: float,
    attention_ratio: float = 0.5,
    say: Callable[[str], None] = lambda line: None,
) -> Pruned:
    """Make a network smaller, by pictures of the kind that it is for.

    Args:
        network: in evaluation mode, on the CPU; left as it is.
        low: B x 3 x H x W in [0, 1], some ten thousand pixels in all.
        of: what shall become less.
        to: which share of it may remain, in (0, 1).
        attention_ratio: share of windows attended, at which MACs and seconds count and damage is measured.
        say: told, in a line each, what is being done.

    Returns:
        The network, and what it takes; not trained.

    Raises:
        ValueRangeError: a number out of range, or a share that cannot be reached.
    """
    if not 0.0 < to < 1.0:
        raise ValueRangeError(f"expected a share of {of} between 0 and 1, got {to:g}")
    if not 0.0 <= attention_ratio <= 1.0:
        raise ValueRangeError(f"attention ratio must lie in [0, 1], got {attention_ratio:g}")
    say("looking at features")
    # without attention nothing would be seen of queries and keys
    seen = observe(network, low.split(1), TopShare(attention_ratio or 0.5))
    say("measuring what each width is worth")
    measured = damages(network, seen, low, attention_ratio)

    def config(chosen: dict[str, int]) -> CAMixerSRConfig:
        return replace(network.config, **chosen)

    def macs(chosen: dict[str, int]) -> float:
        return macs_at_720p(config(chosen), attention_ratio)

    def parameters(chosen: dict[str, int]) -> float:
        return _parameters(config(chosen))

    if of == "seconds":
        say("measuring seconds")

        def meets(chosen: dict[str, int]) -> bool:
            now, then = seconds([network, narrow(network, seen, **chosen)], attention_ratio)
            return then <= to * now

        chosen = _search(measured, macs, meets, to)
    else:
        cost = macs if of == "macs" else parameters
        chosen = choose(measured, cost, to * _widest(measured, cost))
    say(f"narrowing to {words(chosen)}")
    result = narrow(network, seen, **chosen)
    before, after = costs([network, result], attention_ratio)
    change = _compute(result, low, attention_ratio) - _compute(network, low, attention_ratio)
    error = float(change.double().square().mean())
    change_db = decibels(error, data_range=1.0)
    return Pruned(result, before, after, change_db, measured)


def _search(
    measured: Damages,
    macs: Callable[[dict[str, int]], float],
    meets: Callable[[dict[str, int]], bool],
    to: float,
) -> dict[str, int]:
    """The combination with the most MACs that meets something that fewer MACs do sooner."""
    widest = _widest(measured, macs)
    narrowest = {name: min(by_width) for name, by_width in measured.items()}
    if not meets(narrowest):
        raise ValueRangeError(
            f"even the narrowest network ({words(narrowest)}) takes more than {to:g} of the seconds; "
            "ask for a greater share"
        )
    best, low, high = narrowest, macs(narrowest) / widest, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        chosen = choose(measured, macs, middle * widest)
        if meets(chosen):
            best, low = chosen, middle
        else:
            high = middle
    return best
