"""Score models on benchmark sets, by a named protocol, with everything that a number depends on."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr import __version__
from camixersr.data import BenchmarkSet
from camixersr.errors import InputError, UsageError
from camixersr.image.resize import resize
from camixersr.inference.arrays import from_array, to_array
from camixersr.inference.upscaler import Upscaler
from camixersr.metrics import luma, psnr, ssim, ws_psnr, ws_ssim

__all__ = [
    "PUBLISHED_BICUBIC",
    "ImageScore",
    "Protocol",
    "Row",
    "evaluate",
    "protocol_facts",
    "row_facts",
]

Protocol = Literal["classic", "large", "erp"]

PUBLISHED_BICUBIC = {("Set5", 4): 28.42, ("Set14", 4): 26.00, ("BSD100", 4): 25.96}
"""Published luma PSNR of MATLAB's bicubic, dB, by set and scale (from the tables of the paper)."""


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
    """

    name: str
    psnr: float
    ssim: float
    seconds: float
    macs: int
    attention_share: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Row:
    """One line of the table: a model at one attention ratio on one set.

    Attributes:
        set: name of the set.
        model: name of the model, or "bicubic".
        attention_ratio: asked for; None for bicubic.
        psnr: mean of the pictures', dB.
        ssim: mean of the pictures'.
        images: each picture's result.
    """

    set: str
    model: str
    attention_ratio: float | None
    psnr: float
    ssim: float
    images: tuple[ImageScore, ...]


def _score(
    image: NDArray[np.uint8], reference: NDArray[np.uint8], protocol: Protocol, scale: int
) -> tuple[float, float]:
    if protocol == "classic":
        one, two = luma(image), luma(reference)
        return psnr(one, two, border=scale), ssim(one, two, border=scale)
    if protocol == "large":
        return psnr(image, reference), ssim(image, reference)
    return ws_psnr(image, reference), ws_ssim(image, reference)


def protocol_facts(protocol: Protocol, scale: int, sets: Sequence[BenchmarkSet]) -> dict[str, Any]:
    """All that the numbers depend on, for the head of a report.

    Args:
        protocol: one of "classic", "large", "erp".
        scale: high pixels a low pixel.
        sets: that were scored.

    Returns:
        Facts by name, ready for JSON.

    Raises:
        UsageError: an unknown protocol.
    """
    if protocol not in get_args(Protocol):
        raise UsageError(f"unknown protocol {protocol!r}; use one of {', '.join(get_args(Protocol))}")
    classic = protocol == "classic"
    return {
        "protocol": protocol,
        "scale": scale,
        "colour": "luma, BT.601 as MATLAB's rgb2ycbcr" if classic else "RGB",
        "border": scale if classic else 0,
        "weights": "cosine of the latitude" if protocol == "erp" else "none",
        "rounding": "8 bits before scoring",
        "mean": "of the pictures' scores",
        "bicubic": "MATLAB's imresize, antialiased when it reduces",
        "low_images": {each.name: "made here" if each.made else "as stored" for each in sets},
        "camixersr": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
    }


def evaluate(
    upscalers: Sequence[Upscaler],
    benchmark: BenchmarkSet,
    *,
    attention_ratios: Sequence[float],
    protocol: Protocol = "classic",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Row], list[str]]:
    """Score bicubic and models on one set.

    Args:
        upscalers: the models, all of one scale.
        benchmark: the set.
        attention_ratios: each model is scored at each of them.
        protocol: how.
        progress: told pictures done and pictures in all.

    Returns:
        Rows, bicubic first, and what went wrong, a line each: a picture that fails is in no mean.

    Raises:
        UsageError: no model, models of several scales, or an unknown protocol.
        InputError: no picture of the set can be scored.
    """
    scales = {upscaler.scale for upscaler in upscalers}
    if len(scales) != 1:
        raise UsageError(f"expected models of one scale, got {sorted(scales) or 'none'}")
    scale = scales.pop()
    protocol_facts(protocol, scale, [])  # complains of an unknown protocol
    names: list[tuple[str, float | None]] = [("bicubic", None)]
    names += [(upscaler.model.name, ratio) for upscaler in upscalers for ratio in attention_ratios]
    results: list[list[ImageScore]] = [[] for _ in names]
    problems = list(benchmark.problems)
    for number, pair in enumerate(benchmark.pairs, start=1):
        try:
            low, high = pair.read(scale)
        except InputError as error:
            problems.append(str(error))
            continue
        began = time.perf_counter()
        enlarged = resize(low, height=high.shape[0], width=high.shape[1])
        seconds = time.perf_counter() - began
        scores = _score(enlarged, high, protocol, scale)
        results[0].append(ImageScore(pair.name, *scores, seconds, 0, 0.0, None))
        image = from_array(low)
        row = 1
        for upscaler in upscalers:
            for ratio in attention_ratios:
                run = upscaler.run(image, attention_ratio=ratio)
                scores = _score(to_array(run.high, np.dtype(np.uint8)), high, protocol, scale)
                results[row].append(
                    ImageScore(
                        pair.name,
                        *scores,
                        run.seconds,
                        run.macs,
                        run.attention_share,
                        run.peak_memory_bytes,
                    )
                )
                row += 1
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
        )
        for (name, ratio), scores in zip(names, results, strict=True)
    ]
    known = PUBLISHED_BICUBIC.get((benchmark.name, scale))
    whole = not problems and protocol == "classic"
    if known is not None and whole and abs(rows[0].psnr - known) > 0.15:
        problems.append(
            f"{benchmark.name}: bicubic scores {rows[0].psnr:.2f} dB, published {known:.2f}: "
            "the low images were made by another kernel, or the set is another"
        )
    return rows, problems


def row_facts(row: Row) -> dict[str, Any]:
    """A row as JSON holds it, with means of what a user compares."""
    means = {
        "seconds": fmean(score.seconds for score in row.images),
        "macs": fmean(score.macs for score in row.images),
        "attention_share": fmean(score.attention_share for score in row.images),
    }
    return asdict(row) | {"mean": means}
