"""What `camixersr benchmark` measures: speed on pictures of some sizes, and memory of whole runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.picture import Picture
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Progress
from camixersr.speed.contenders import apart, entries
from camixersr.speed.memory import MemoryRow, watch_upscale
from camixersr.speed.race import Timing, noise, peaks, race, worthwhile
from camixersr.tensors import from_array, to_array
from camixersr.weights import Model

__all__ = ["Begin", "Races", "measure_memory", "picture", "race_all"]

Begin = Callable[[str], None]
"""Told which picture is measured next."""


@dataclass
class Races:
    """What is known of speed so far.

    Attributes:
        device: that computes.
        rounds: that count.
        peaks: best matrix product in each precision, 1e9 operations a second.
        rows: of every contender, size and ratio.
        dropped: what could not take part, and why, a line each.
    """

    device: str
    rounds: int
    peaks: dict[str, float] = field(default_factory=dict[str, float])
    rows: list[Timing] = field(default_factory=list[Timing])
    dropped: list[str] = field(default_factory=list[str])

    def as_json(self) -> dict[str, Any]:
        """All of it; JSON knows no infinity."""
        return {
            "device": self.device,
            "rounds": self.rounds,
            "peak_gflops": self.peaks,
            "rows": [
                asdict(row) | ({"parity_db": "inf"} if row.parity_db == math.inf else {})
                for row in self.rows
            ],
            "dropped": self.dropped,
        }


def picture(photo: Path | None, width: int, height: int) -> Tensor:
    """A picture to measure on.

    Args:
        photo: repeated to the size; None for noise with detail at all scales.
        width: pixels.
        height: pixels.

    Returns:
        3 x H x W float32 in [0, 1].

    Raises:
        ImageError: the photograph cannot be decoded.
    """
    if photo is None:
        return noise(height, width)
    pixels = read(photo, color="srgb").pixels
    times = (-(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1)
    return from_array(np.tile(pixels, times)[:height, :width])


def race_all(
    model: Model,
    sizes: Sequence[tuple[int, int]],
    *,
    attention_ratios: Sequence[float],
    rounds: int,
    photo: Path | None,
    device: str,
    tile: int | Literal["auto"],
    begin: Begin,
    progress: Progress,
    found: Callable[[Races, list[Timing]], None],
) -> Races:
    """Let everything that can compute a model here compute pictures of some sizes, in turns.

    Args:
        model: its thresholds are left aside.
        sizes: width and height each, low pixels.
        attention_ratios: each in [0, 1].
        rounds: that count, from 1.
        photo: see `picture`.
        device: as for `Computer`.
        tile: as for `Computer`.
        begin: told of each size.
        progress: told how far that is.
        found: told the rows of a size and ratio as they come, and all that is known.

    Raises:
        UsageError: the plain reference is of another kind of network.
    """
    model = replace(model, calibration=None)
    place = torch.device(Computer(model, device=device).device)
    entered, missing = entries(model, device, worthwhile(peaks(place)), tile=tile)
    known = Races(str(place), rounds, dropped=missing)

    def add(rows: list[Timing]) -> None:
        known.rows.extend(rows)
        found(known, rows)

    with apart(model, entered) as contenders:
        for width, height in sizes:
            begin(f"{width} x {height}")
            _, speeds, without = race(
                contenders,
                picture(photo, width, height),
                scale=model.config.scale,
                attention_ratios=attention_ratios,
                rounds=rounds,
                device=place,
                progress=progress,
                found=add,
            )
            known.peaks |= {name: max(known.peaks.get(name, 0.0), speed) for name, speed in speeds.items()}
            known.dropped += without
    return known


def measure_memory(
    model: str,
    sizes: Sequence[tuple[int, int]],
    *,
    attention_ratios: Sequence[float],
    photo: Path | None,
    options: Sequence[str],
    begin: Begin,
    progress: Progress,
) -> list[MemoryRow]:
    """Enlarge pictures of some sizes with the command line, PNG to PNG, each in a process of its own.

    Args:
        model: name or file.
        sizes: width and height each, low pixels.
        attention_ratios: each in [0, 1].
        photo: see `picture`.
        options: more options of `camixersr upscale`.
        begin: told of each size.
        progress: told how many ratios of how many are done.

    Raises:
        CamixerError: a run failed.
    """
    rows: list[MemoryRow] = []
    with TemporaryDirectory() as name:
        source, target = Path(name) / "low.png", Path(name) / "high.png"
        for width, height in sizes:
            begin(f"{width} x {height}")
            write(source, Picture(to_array(picture(photo, width, height))))
            for number, ratio in enumerate(attention_ratios):
                progress(number, len(attention_ratios))
                how = [*options, "--model", model, "--attention-ratio", str(ratio)]
                rows.append(watch_upscale(source, target, how))
                target.unlink()
    return rows
