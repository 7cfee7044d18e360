"""`camixersr benchmark`: how fast this machine is, and how much memory pictures take."""

import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from camixersr.errors import UsageError

if TYPE_CHECKING:
    from camixersr.speed.memory import MemoryRow
    from camixersr.speed.race import Timing
    from camixersr.speed.suites import Races

__all__ = ["benchmark"]

SIZES = {"540p": (960, 540), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
"""Names of sizes of the input, width and height."""

DEFAULT_SIZES = {"speed": ["256x256"], "memory": ["256x256", "512x512", "1024x1024", "2048x1024"]}


def benchmark(
    *,
    suite: Literal["speed", "memory"] = "speed",
    model: str = "s-x4",
    size: Annotated[list[str] | None, Parameter(negative=(), consume_multiple=True)] = None,
    attention_ratio: Annotated[list[float] | None, Parameter(negative=(), consume_multiple=True)] = None,
    rounds: int = 3,
    photo: Path | None = None,
    device: str = "auto",
    tile: str = "auto",
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Measure the speed or the memory use of camixersr on this machine.

    speed: times every backend that can compute the model here, in turns with a plain reference.
    memory: runs `camixersr upscale` on growing pictures, and shows each peak beside its prediction.

    Parameters
    ----------
    suite
        What to measure.
    model
        A name from `camixersr models list`, or a file of weights.
    size
        One or several sizes of the input: 540p, 720p, 1080p, 4k or WIDTHxHEIGHT. Default: 256x256 for
        speed, which takes minutes, and 256x256 to 2048x1024 for memory. 540p and 1080p are the usual sizes.
    attention_ratio
        One or several ratios, each in [0, 1]. Default: 0, 0.25, 0.5 and 1 for speed, 0.5 for memory.
    rounds
        Rounds to measure after one to warm up. The result is their median.
    photo
        A picture to use, repeated until it has the size. Default: noise with detail at all scales.
    device
        Where to compute, as for `camixersr upscale`.
    tile
        Side of a tile, as for `camixersr upscale`.
    json_
        Also write everything as JSON, with facts about the machine. A folder gets a file named after
        the machine.
    """
    sizes = [_parse(each) for each in size or DEFAULT_SIZES[suite]]
    ratios = attention_ratio or ([0.0, 0.25, 0.5, 1.0] if suite == "speed" else [0.5])
    if not all(0.0 <= ratio <= 1.0 for ratio in ratios):
        raise UsageError(f"--attention-ratio must lie in [0, 1], got {', '.join(map(str, ratios))}")
    if rounds < 1:
        raise UsageError(f"--rounds must be at least 1, got {rounds}")
    if tile != "auto" and not tile.isdecimal():
        raise UsageError(f"--tile must be auto, 0 or a multiple of 16, got {tile!r}")
    from camixersr.catalogue import find
    from camixersr.image.files import replacing, require_writable
    from camixersr.speed.machine import describe, slug

    machine = describe()
    if json_ is not None:
        json_ = json_ / f"{suite}-{slug(machine)}.json" if json_.is_dir() else json_
        require_writable(json_)
    found = find(model)

    def keep(result: dict[str, Any]) -> None:
        """Write what is known so far."""
        if json_ is None:
            return
        about = {
            "command": shlex.join(["camixersr", *sys.argv[1:]]),
            **machine,
            "suite": suite,
            "model": found.name,
            "sha256": found.sha256,
            "picture": "noise" if photo is None else photo.name,
        }
        with replacing(json_) as partial:
            partial.write_text(json.dumps({**about, **result}, indent=1) + "\n", encoding="utf-8")

    from dataclasses import asdict

    from camixersr.cli.bars import Bars
    from camixersr.speed.suites import measure_memory, race_all

    def shown(speed: "Races", rows: "list[Timing]") -> None:
        _print_speed(rows)
        keep(speed.as_json())

    if suite == "speed":
        with Bars(1) as bar:
            speed = race_all(
                found,
                sizes,
                attention_ratios=ratios,
                rounds=rounds,
                photo=photo,
                device=device,
                tile="auto" if tile == "auto" else int(tile),
                begin=bar.begin,
                progress=bar,
                found=shown,
            )
        _print_notes(speed)
        keep(speed.as_json())
    else:
        options = ["--device", device, "--tile", tile]
        with Bars(1) as bar:
            rows = measure_memory(
                model,
                sizes,
                attention_ratios=ratios,
                photo=photo,
                options=options,
                begin=bar.begin,
                progress=bar,
            )
        _print_memory(rows)
        keep({"options": options, "rows": [asdict(row) for row in rows]})
    return 0


def _parse(text: str) -> tuple[int, int]:
    """Width and height.

    >>> _parse("540p"), _parse("64x32")
    ((960, 540), (64, 32))
    """
    if text.lower() in SIZES:
        return SIZES[text.lower()]
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--size must be {', '.join(SIZES)} or WIDTHxHEIGHT, got {text!r}")
    return int(width), int(height)


def _print_speed(rows: "list[Timing]") -> None:
    from rich.table import Table

    from camixersr.cli.tables import print_table

    table = Table("input", "backend", "precision", box=None, pad_edge=False)
    for name in (
        "ratio",
        "seconds",
        "spread",
        "x reference",
        "Mpx/s out",
        "us/px in",
        "GFLOP/s",
        "of peak",
        "MB",
        "dB",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        memory, times, share = row.peak_memory_bytes, row.times_reference, row.share_of_peak
        table.add_row(
            " x ".join(map(str, row.low_size)),
            row.backend,
            row.precision,
            f"{row.attention_ratio:g}",
            f"{row.seconds:.3f}",
            "once" if row.rounds == 1 else f"{100 * (row.slowest - row.fastest) / row.seconds:.0f} %",
            "" if times is None else f"{times:.2f}",
            f"{row.output_megapixels_per_second:.2f}",
            f"{row.microseconds_per_low_pixel:.2f}",
            f"{row.gflops:.1f}",
            "" if share is None else f"{100 * share:.0f} %",
            "" if memory is None else f"{memory / 1e6:.0f}",
            "" if row.parity_db is None else _decibel(row.parity_db),
        )
    print_table(table)
    sys.stdout.flush()


def _print_notes(speed: "Races") -> None:
    from camixersr.speed.contenders import PIECE, REFERENCE

    peak = ", ".join(f"{name} {best:.0f} GFLOP/s" for name, best in speed.peaks.items())
    print(f"peak: a large matrix product, {peak}")
    print(
        f"seconds: median of {speed.rounds}, in turns; MB: of the process; dB: against the first row of a "
        "ratio"
    )
    plain = [row for row in speed.rows if row.backend == REFERENCE]
    if any(row.tiles > 1 for row in plain):
        print(f"reference: in pieces of {PIECE} x {PIECE}, which fit its maps into the caches")
    for each in speed.dropped:
        print(f"left out: {each}")


def _decibel(value: float) -> str:
    return "same" if math.isinf(value) else f"{value:.1f}"


def _print_memory(rows: "list[MemoryRow]") -> None:
    from rich.table import Table

    from camixersr.cli.tables import print_table

    table = Table(box=None, pad_edge=False)
    for name in ("input", "ratio", "tile", "peak MB", "predicted MB", "seconds", "us/px in"):
        table.add_column(name, justify="right")
    for row in rows:
        width, height = row.low_size
        predicted = row.predicted_memory_bytes
        table.add_row(
            f"{width} x {height}",
            f"{row.attention_ratio:g}",
            "" if row.tile is None else str(row.tile),
            "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:.0f}",
            "" if predicted is None else f"{predicted / 1e6:.0f}",
            f"{row.seconds:.1f}",
            f"{row.seconds / (width * height) * 1e6:.2f}",
        )
    print_table(table)
    print("each a process of its own, PNG to PNG; tile 0 is the picture in one piece")
