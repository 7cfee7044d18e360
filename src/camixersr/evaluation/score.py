"""Score models on benchmark sets, by a named protocol, with everything that a number depends on."""

import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr import __version__, published
from camixersr.data import BenchmarkSet
from camixersr.errors import InputError, UsageError
from camixersr.image.panorama import SLACK, Panorama
from camixersr.image.resize import resize
from camixersr.inference.computer import Computer
from camixersr.metrics import luma, psnr, psnr_b, seam, ssim, ws_psnr, ws_ssim
from camixersr.models.classes import PATCH
from camixersr.tensors import from_array, to_array
from camixersr.weights import Model

__all__ = [
    "PAPER_PATCHES",
    "PAPER_TILES",
    "PUBLISHED_BICUBIC",
    "ImageScore",
    "Protocol",
    "Row",
    "evaluate",
    "paper_tiles",
    "paper_way",
    "protocol_facts",
    "row_facts",
]

Protocol = Literal["classic", "large", "erp", "restoration"]

PAPER_TILES = "tiles 64/4"
"""Added to the name of a model that was cut as the paper cuts large images."""

PAPER_PATCHES = "patches 32/4"
"""The same of a ClassSR with a network for each class."""


def paper_way(model: Model) -> str:
    """How the paper cuts large images for a model: what is added to its name."""
    return PAPER_PATCHES if model.branches else PAPER_TILES


PUBLISHED_BICUBIC = published.bicubic()
"""Luma PSNR of MATLAB's bicubic, dB, by set and scale: `published.toml`. Set5 and Set14 at x2 and x3 are
confirmed here to 0.1 dB (tests/test_evaluation.py)."""


def _published(computer: Computer, benchmark: str, attention_ratio: float) -> float | None:
    """What the paper states for an authors' checkpoint in the paper's tiles; None if nothing."""
    official = computer.model.provenance.get("official", "")
    stated = official and published.find(
        published.load(),
        table="large",
        scale=computer.scale,
        official=official,
        attention_ratio=attention_ratio,
        way=PAPER_TILES,
    )
    return stated.sets[benchmark][0] if stated and benchmark in stated.sets else None


@dataclass(frozen=True)
class ImageScore:
    """One picture's result.

    Attributes:
        name: of the picture.
        psnr: dB, by the protocol.
        ssim: by the protocol.
        seconds: of the network, wall time.
        macs: multiply-adds that ran.
        attention_share: of windows, over all blocks.
        peak_memory_bytes: while the network ran; None where unknown.
        rgb: "restoration" and "erp" only: PSNR of RGB, dB, every pixel alike.
        rgb_ssim: "erp" only: SSIM of RGB, every pixel alike.
        psnr_b: "restoration" only: PSNR-B of luma, dB, which also counts blocking.
        seam: "erp" only: dB of the 8 columns on either side of where the panorama closes.
        elsewhere: "erp" only: dB of all others.
    """

    name: str
    psnr: float
    ssim: float
    seconds: float
    macs: int
    attention_share: float
    peak_memory_bytes: int | None
    rgb: float | None = None
    rgb_ssim: float | None = None
    psnr_b: float | None = None
    seam: float | None = None
    elsewhere: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: a model at one attention ratio on one set.

    Attributes:
        set: name of the set.
        model: name of the model, or "bicubic", or "input" at scale 1; " tiles 64/4" is added where it
            was cut as the paper cuts large images, " flat" where a panorama was enlarged as a flat
            picture.
        attention_ratio: asked for; None for bicubic or the input.
        psnr: mean of the pictures', dB.
        ssim: mean of the pictures'.
        images: each picture's result.
        published: what the paper states for the same, dB; None where it states nothing.
    """

    set: str
    model: str
    attention_ratio: float | None
    psnr: float
    ssim: float
    images: tuple[ImageScore, ...]
    published: float | None = None


def _score(
    image: NDArray[np.uint8], reference: NDArray[np.uint8], protocol: Protocol, scale: int
) -> tuple[float, float]:
    if protocol in ("classic", "restoration"):
        border = scale if protocol == "classic" else 0
        one, two = luma(image), luma(reference)
        return psnr(one, two, border=border), ssim(one, two, border=border)
    if protocol == "large":
        return psnr(image, reference), ssim(image, reference)
    return ws_psnr(image, reference), ws_ssim(image, reference)


def _beside(image: NDArray[np.uint8], reference: NDArray[np.uint8], protocol: Protocol) -> dict[str, float]:
    """Further scores: of panoramas unweighted, at the seam and elsewhere; of restored ones more PSNR."""
    if protocol == "restoration":
        return {"rgb": psnr(image, reference), "psnr_b": psnr_b(luma(image), luma(reference))}
    if protocol != "erp":
        return {}
    inner = slice(8, -8)
    return {
        "rgb": psnr(image, reference),
        "rgb_ssim": ssim(image, reference),
        "seam": ws_psnr(seam(image), seam(reference)),
        "elsewhere": ws_psnr(image[:, inner], reference[:, inner]),
    }


def _commit() -> str:
    """The commit of the checkout this package runs from, "+" if it was changed since; else nothing."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()


def paper_tiles(
    computer: Computer, low: NDArray[np.float32], attention_ratio: float
) -> tuple[NDArray[np.float32], int, float]:
    """Enlarge in tiles as the paper's large-image table does: 64 pixels, overlap 4, flat average.

    Every tile is routed by itself. For comparison only: the seams show. A ClassSR with a network for each
    class has tiles of 32, each of one class: its patches.

    Args:
        computer: the model.
        low: 3 x H x W in [0, 1].
        attention_ratio: gamma in [0, 1].

    Returns:
        3 x sH x sW, the MACs, and the share of windows attended.
    """
    s, side = computer.scale, PATCH if computer.model.branches else 64
    _, height, width = low.shape
    total = np.zeros((3, s * height, s * width), np.float32)
    count = np.zeros((1, s * height, s * width), np.float32)
    macs, shares = 0, list[float]()
    for top in _starts(height, side, side - 4):
        for left in _starts(width, side, side - 4):
            part = low[:, top : top + side, left : left + side]
            run = computer.run(part, attention_ratio=attention_ratio)
            rows = slice(s * top, s * top + run.high.shape[1])
            columns = slice(s * left, s * left + run.high.shape[2])
            total[:, rows, columns] += run.high
            count[:, rows, columns] += 1.0
            macs += run.macs
            shares.append(run.attention_share)
    return total / count, macs, fmean(shares)


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where tiles begin; the last one ends with the image."""
    last = max(length - side, 0)
    return [*range(0, last, step), last]


def protocol_facts(protocol: Protocol, scale: int, sets: Sequence[BenchmarkSet]) -> dict[str, Any]:
    """All that the numbers depend on, for the head of a report.

    Args:
        protocol: one of "classic", "large", "erp", "restoration".
        scale: high pixels a low pixel.
        sets: that were scored.

    Returns:
        Facts by name, ready for JSON.

    Raises:
        UsageError: an unknown protocol.
    """
    if protocol not in get_args(Protocol):
        raise UsageError(f"unknown protocol {protocol!r}; use one of {', '.join(get_args(Protocol))}")
    classic = protocol in ("classic", "restoration")
    return {
        "protocol": protocol,
        "scale": scale,
        "colour": "luma, BT.601 as MATLAB's rgb2ycbcr" if classic else "RGB",
        "border": scale if protocol == "classic" else 0,
        "weights": "cosine of the latitude" if protocol == "erp" else "none",
        "rounding": "8 bits before scoring",
        "mean": "of the pictures' scores",
        **({"bicubic": "MATLAB's imresize, antialiased when it reduces"} if scale > 1 else {}),
        "low_images": {each.name: f"made here: {each.made}" if each.made else "as stored" for each in sets},
        "camixersr": __version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
    }


def evaluate(
    computers: Sequence[Computer],
    benchmark: BenchmarkSet,
    *,
    attention_ratios: Sequence[float],
    protocol: Protocol = "classic",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Row], list[str]]:
    """Score bicubic (at scale 1: the input as it is) and models on one set.

    Args:
        computers: the models, all of one scale.
        benchmark: the set.
        attention_ratios: each model is scored at each of them.
        protocol: how.
        progress: told pictures done and pictures in all.

    Returns:
        Rows, bicubic or input first, and what went wrong, a line each: a picture that fails is in no mean.

    Raises:
        UsageError: no model, models of several scales, an unknown protocol, or one that does not go
            with the scale.
        InputError: no picture of the set can be scored.
    """
    scales = {computer.scale for computer in computers}
    if len(scales) != 1:
        raise UsageError(f"expected models of one scale, got {sorted(scales) or 'none'}")
    scale = scales.pop()
    if (scale == 1) != (protocol == "restoration"):
        raise UsageError(
            f"protocol {protocol} is not for scale {scale}; restoration goes with scale 1 alone"
        )
    protocol_facts(protocol, scale, [])  # complains of an unknown protocol
    runs = [(computer, ratio) for computer in computers for ratio in attention_ratios]
    names: list[tuple[str, float | None]] = [("input" if scale == 1 else "bicubic", None)]
    names += [(computer.model.name, ratio) for computer, ratio in runs]
    stated: list[float | None] = [None] * len(names)
    if protocol == "large":
        stated += [_published(computer, benchmark.name, ratio) for computer, ratio in runs]
        names += [(f"{computer.model.name} {paper_way(computer.model)}", ratio) for computer, ratio in runs]
    if protocol == "erp":
        names += [(f"{computer.model.name} flat", ratio) for computer, ratio in runs]
    results: list[list[ImageScore]] = [[] for _ in names]
    stated += [None] * (len(names) - len(stated))
    problems = list(benchmark.problems)
    for number, pair in enumerate(benchmark.pairs, start=1):
        try:
            low, high = pair.read(scale)
        except InputError as error:
            problems.append(str(error))
            continue
        if protocol == "erp" and abs(low.shape[1] - 2 * low.shape[0]) > SLACK:
            problems.append(f"{pair.high}: expected a panorama twice as wide as high, got {high.shape[:2]}")
            continue
        scored = _score_image(pair.name, low, high, runs, protocol, scale)
        for row, result in zip(results, scored, strict=True):
            row.append(result)
        if progress is not None:
            progress(number, len(benchmark.pairs))
    if not results[0]:
        raise InputError(f"{benchmark.name}: no picture could be scored: {'; '.join(problems[:3])}")
    rows = [
        Row(
            benchmark.name,
            name,
            ratio,
            fmean(score.psnr for score in scores),
            fmean(score.ssim for score in scores),
            tuple(scores),
            known,
        )
        for (name, ratio), scores, known in zip(names, results, stated, strict=True)
    ]
    known = PUBLISHED_BICUBIC.get((benchmark.name, scale))
    whole = not problems and protocol == "classic"
    if known is not None and whole and abs(rows[0].psnr - known) > 0.15:
        problems.append(
            f"{benchmark.name}: bicubic scores {rows[0].psnr:.2f} dB, published {known:.2f}: "
            "the low images were made by another kernel, or the set is another"
        )
    return rows, problems


def _score_image(
    name: str,
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
    runs: Sequence[tuple[Computer, float]],
    protocol: Protocol,
    scale: int,
) -> list[ImageScore]:
    """One picture's results: bicubic, every run, and beside it: in the paper's tiles, or flat."""
    image = from_array(low).numpy()
    began = time.perf_counter()
    bicubic = resize(low, height=high.shape[0], width=high.shape[1])
    seconds = time.perf_counter() - began
    scores = _score(bicubic, high, protocol, scale)
    results = [ImageScore(name, *scores, seconds, 0, 0.0, None, **_beside(bicubic, high, protocol))]
    ways: list[Panorama | None] = [None]
    if protocol == "erp":
        ways = [Panorama.whole(*low.shape[:2]), None]
    for panorama in ways:
        for computer, ratio in runs:
            run = computer.run(image, attention_ratio=ratio, panorama=panorama)
            result = to_array(run.high)
            scores = _score(result, high, protocol, scale)
            cost = (run.seconds, run.macs, run.attention_share, run.peak_memory_bytes)
            results.append(ImageScore(name, *scores, *cost, **_beside(result, high, protocol)))
    for computer, ratio in runs if protocol == "large" else ():
        began = time.perf_counter()
        tiled, macs, share = paper_tiles(computer, image, ratio)
        seconds = time.perf_counter() - began
        scores = _score(to_array(tiled), high, protocol, scale)
        results.append(ImageScore(name, *scores, seconds, macs, share, None))
    return results


def row_facts(row: Row) -> dict[str, Any]:
    """A row as JSON holds it, with means of what a user compares."""
    means: dict[str, float] = {
        "seconds": fmean(score.seconds for score in row.images),
        "macs": fmean(score.macs for score in row.images),
        "attention_share": fmean(score.attention_share for score in row.images),
    }
    for part in ("rgb", "rgb_ssim", "psnr_b", "seam", "elsewhere"):
        known = [value for score in row.images if (value := getattr(score, part)) is not None]
        if known:
            means[part] = fmean(known)
    return asdict(row) | {"mean": means}
