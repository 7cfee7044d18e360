"""Everything that can compute a network here, against the plain reference, in one run.

A round lets every contender compute the same picture once; after a round to warm up, medians of
several are reported, so that what else the machine does falls on all alike. The yardstick of the
hardware, a large matrix product, runs in the same rounds.

Ratios are shares: calibrated thresholds are left aside, so that gamma is the share of windows
attended whatever the picture.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from camixersr.inference.cost import Progress
from camixersr.metrics import decibels
from camixersr.speed.contenders import REFERENCE, Contender, Ran

__all__ = ["WORTHWHILE", "Timing", "noise", "peaks", "race", "worthwhile"]

WORTHWHILE = 0.5
"""Reduced precision is left out where its matrix product is slower than this share of fp32's: there
the processor does not have it, and emulates it."""

SIDE = {"cpu": 2048}
"""Rows and columns of the matrices whose product is the yardstick, by kind of device; 8192 elsewhere."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a contender did with a picture at a ratio. Fields are those of the JSON file.

    Attributes:
        low_size: width and height, low pixels.
        high_size: the same of the result.
        backend: as of the contender.
        precision: that was computed in.
        attention_ratio: gamma, asked for.
        attention_share: that came of it.
        tiles: pieces computed; 1 is the picture whole.
        rounds: that counted.
        seconds: median of these.
        fastest: seconds of the fastest round.
        slowest: seconds of the slowest.
        first: seconds of the first computation, not counted in the others where there were any.
        times_reference: the reference's median seconds through this median; None without it.
        output_megapixels_per_second: high pixels.
        microseconds_per_low_pixel: of the picture, halos not counted.
        gflops: 1e9 operations (two a multiply-add) a second, of what ran.
        share_of_peak: of the matrix product of that precision; None where it was not measured.
        peak_memory_bytes: highest in any round; None where the system does not tell.
        parity_db: PSNR against the first contender (peak 1, not rounded), infinite where equal; None
            for itself, and where the pieces are not the same.
    """

    low_size: tuple[int, int]
    high_size: tuple[int, int]
    backend: str
    precision: str
    attention_ratio: float
    attention_share: float
    tiles: int
    rounds: int
    seconds: float
    fastest: float
    slowest: float
    first: float
    times_reference: float | None
    output_megapixels_per_second: float
    microseconds_per_low_pixel: float
    gflops: float
    share_of_peak: float | None
    peak_memory_bytes: int | None
    parity_db: float | None


def noise(height: int, width: int) -> Tensor:
    """A picture with detail at all scales, as photographs have: a sum of octaves of noise.

    >>> picture = noise(20, 30)
    >>> tuple(picture.shape), 0.0 <= float(picture.min()) < float(picture.max()) <= 1.0
    ((3, 20, 30), True)

    Args:
        height: pixels.
        width: pixels.

    Returns:
        3 x H x W float32 in [0, 1], always the same.
    """
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(1, 3, height, width)
    cell = 1
    while cell < 2 * max(height, width):
        shape = (1, 3, -(-height // cell) + 1, -(-width // cell) + 1)
        octave = torch.randn(shape, generator=generator)
        total += cell**0.5 * F.interpolate(octave, (height, width), mode="bilinear", align_corners=True)
        cell *= 2
    return (0.5 + 0.15 * (total - total.mean()) / total.std()).clamp(0.0, 1.0)[0]


def _matrix_product(device: torch.device, precision: str) -> float:
    """1e9 operations a second of one large matrix product; 0 where the device cannot."""
    side = SIDE.get(device.type, 8192)
    try:
        a, b = torch.rand(2, side, side, device=device).to(DTYPES[precision])
        result = a @ b
        float(result[0, 0])  # waits for the device
        began = time.perf_counter()
        result = a @ b
        float(result[0, 0])
    except RuntimeError:
        return 0.0
    return 2.0 * side**3 / (time.perf_counter() - began) / 1e9


def peaks(device: torch.device) -> dict[str, float]:
    """What the hardware does at best, by precision: 1e9 operations a second of a matrix product."""
    precisions = ("fp32", "bf16", "fp16") if device.type in ("cuda", "mps") else ("fp32", "bf16")
    return {precision: _matrix_product(device, precision) for precision in precisions}


def worthwhile(peaks: Mapping[str, float]) -> list[str]:
    """The reduced precisions that this hardware has, by what `peaks` measured."""
    return [
        precision
        for precision, speed in peaks.items()
        if precision != "fp32" and speed >= WORTHWHILE * peaks["fp32"]
    ]


def race(
    contenders: Sequence[Contender],
    low: Tensor,
    *,
    scale: int,
    attention_ratios: Sequence[float],
    rounds: int,
    device: torch.device,
    progress: Progress = lambda done, total: None,
    found: Callable[[list[Timing]], None] = lambda rows: None,
) -> tuple[list[Timing], dict[str, float], list[str]]:
    """Let all contenders compute a picture at some ratios, in turns.

    Args:
        contenders: in the order of a round; the first is what the others' parity is measured against.
        low: 3 x H x W float32 in [0, 1].
        scale: high pixels a low pixel, a side.
        attention_ratios: gammas.
        rounds: that count, from 1; one more warms up.
        device: of the matrix product.
        progress: told how many computations of how many are done.
        found: told the rows of each ratio as they come.

    Returns:
        The rows, ratio by ratio; the best matrix product seen in each precision, 1e9 operations a
        second; and who dropped out, and why, a line each.
    """
    best: dict[str, float] = {}
    rows: list[Timing] = []
    dropped: dict[Contender, str] = {}
    turns = {each: each.turns(low, rounds) for each in contenders}
    done, total = 0, len(attention_ratios) * sum(map(len, turns.values()))
    for ratio in attention_ratios:
        runs: dict[Contender, list[Ran]] = {each: [] for each in contenders}
        parity: dict[Contender, float] = {}
        truth: Ran | None = None
        for turn in range(rounds + 1):
            for precision, speed in peaks(device).items():
                best[precision] = max(best.get(precision, 0.0), speed)
            for each in (each for each in contenders if turn in turns[each]):
                if each not in dropped:
                    try:
                        ran = each.compute(low, ratio)
                    except MemoryError as error:
                        dropped[each] = " ".join(str(error).split())
                    else:
                        if truth is None and each is contenders[0]:
                            truth = ran
                        elif truth is not None and not runs[each] and ran.tiles == truth.tiles:
                            parity[each] = _psnr(ran.high, truth.high)
                        runs[each].append(replace(ran, high=torch.empty(0)))
                done += 1
                progress(done, total)
        there = {each: ran for each, ran in runs.items() if ran and each not in dropped}
        plain = [_counted(ran) for each, ran in there.items() if each.backend == REFERENCE]
        reference = median(plain[0]) if plain else None
        of_ratio = [
            _row(low, scale, ratio, each, ran, parity.get(each), reference, best)
            for each, ran in there.items()
        ]
        rows += of_ratio
        found(of_ratio)
    return rows, best, [f"{each.backend} {each.precision}: {why}" for each, why in dropped.items()]


def _counted(runs: list[Ran]) -> list[float]:
    """Seconds of those that count: not of the first, where there are others."""
    return [ran.seconds for ran in runs[1:] or runs]


def _psnr(one: Tensor, other: Tensor) -> float:
    """Of values in [0, 1], not rounded."""
    error = float((one.clamp(0.0, 1.0) - other.clamp(0.0, 1.0)).double().square().mean())
    return decibels(error, data_range=1.0)


def _row(
    low: Tensor,
    scale: int,
    ratio: float,
    contender: Contender,
    runs: list[Ran],
    parity: float | None,
    reference: float | None,
    best: dict[str, float],
) -> Timing:
    _, height, width = low.shape
    counted = _counted(runs)
    seconds = median(counted)
    gflops = 2.0 * runs[0].macs / seconds / 1e9
    peak = best.get(runs[0].precision)
    memory = [ran.peak_memory_bytes for ran in runs if ran.peak_memory_bytes is not None]
    return Timing(
        low_size=(width, height),
        high_size=(scale * width, scale * height),
        backend=contender.backend,
        precision=runs[0].precision,
        attention_ratio=ratio,
        attention_share=runs[0].attention_share,
        tiles=runs[0].tiles,
        rounds=len(counted),
        seconds=seconds,
        fastest=min(counted),
        slowest=max(counted),
        first=runs[0].seconds,
        times_reference=None if reference is None else reference / seconds,
        output_megapixels_per_second=scale**2 * height * width / seconds / 1e6,
        microseconds_per_low_pixel=seconds / (height * width) * 1e6,
        gflops=gflops,
        share_of_peak=gflops / peak if peak else None,
        peak_memory_bytes=max(memory, default=None),
        parity_db=parity,
    )
