"""Everything that can compute a network here, against the plain reference, in one run.

A round lets every contender compute the same picture once; after a round to warm up, medians of
several are reported, so that what else the machine does falls on all alike. The yardstick of the
hardware, a large matrix product, runs in the same rounds.

Every contender has a process of its own, as it has where somebody uses it. In one process they would
share an allocator, and it learns: glibc's, once large maps were freed, takes such maps from the heap
and no longer from the system page by page, and the reference, which never frees any so large, took
25 to 30 microseconds a low pixel after somebody else had, and 37 to 40 on its own.

Ratios are shares: calibrated thresholds are left aside, so that gamma is the share of windows
attended whatever the picture.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from camixersr.backends.choose import Precision, available
from camixersr.backends.devices import peak_memory, reset_peak_memory
from camixersr.errors import MemoryLimitError, UsageError
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Progress
from camixersr.metrics import decibels
from camixersr.models import CAMixerSR
from camixersr.nn.routing import TopShare
from camixersr.operations import count
from camixersr.processes import Ask, Processes, told
from camixersr.speed.machine import available_memory
from camixersr.speed.reference import Reference
from camixersr.weights import Model

__all__ = [
    "PIECE",
    "REFERENCE",
    "WHOLE",
    "WORTHWHILE",
    "Contender",
    "Entry",
    "Ran",
    "Row",
    "apart",
    "entries",
    "noise",
    "peaks",
    "race",
    "worthwhile",
]

REFERENCE = "reference"

WHOLE = "reference, whole"
"""The reference on whole maps, which fit no cache: beside the others, and not what they are measured by."""

PIECE = 128
"""Side of the pieces that the reference computes on a CPU, in low pixels: where whole maps leave the caches
it takes twice as long and more, which would flatter everybody else."""

LARGE = 256 * 256
"""Above so many low pixels the reference on whole maps is left out: it would take most of the time."""

WORTHWHILE = 0.5
"""Reduced precision is left out where its matrix product is slower than this share of fp32's: there
the processor does not have it, and emulates it."""

REFERENCE_BYTES = 110
"""Memory of the reference at its peak, for a low pixel and channel. Measured with S at 256 and 384
pixels a side on the CPU: 1,183 to 3,967 bytes a low pixel."""

SIDE = {"cpu": 2048}
"""Rows and columns of the matrices whose product is the yardstick, by kind of device; 8192 elsewhere."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ran:
    """One picture, computed once.

    Attributes:
        high: 3 x sH x sW on the CPU.
        seconds: from the low picture in memory to the high one in memory.
        macs: multiply-adds that ran, halos and the first look of tiled pictures included.
        attention_share: of all windows in all blocks.
        tiles: pieces computed.
        precision: that was computed in.
        peak_memory_bytes: as for `camixersr.inference.cost.Cost`.
    """

    high: Tensor
    seconds: float
    macs: int
    attention_share: float
    tiles: int
    precision: str
    peak_memory_bytes: int | None


Compute = Callable[[Tensor, float], Ran]
"""Low picture, 3 x H x W, and attention ratio to result."""


@dataclass(frozen=True)
class Entry:
    """A way to compute a network, to be started where it runs.

    Attributes:
        backend: its name, `REFERENCE` or `WHOLE`.
        precision: asked for.
        device: as for `Computer`.
        tile: as for `Computer`; of a reference the side of its pieces, 0 for the picture whole.
    """

    backend: str
    precision: Precision
    device: str
    tile: int | Literal["auto"] = "auto"

    def start(self, model: Model) -> Compute:
        """Make what computes a model that `entries` was asked about."""
        if self.backend in (REFERENCE, WHOLE):
            return _reference(model, torch.device(self.device), 0 if self.tile == "auto" else self.tile)
        return _of_computer(
            Computer(
                model, backend=self.backend, device=self.device, precision=self.precision, tile=self.tile
            )
        )


@dataclass(frozen=True)
class Contender:
    """What takes part.

    Attributes:
        backend: as of its entry.
        precision: likewise.
        compute: what is raced.
    """

    backend: str
    precision: str
    compute: Compute

    def turns(self, low: Tensor, rounds: int) -> range:
        """In which of the rounds it runs; the first is number 0 and warms up."""
        if self.backend == WHOLE:  # once, not warmed up
            return range(1, 1 if low.shape[1] * low.shape[2] > LARGE else 2)
        return range(rounds + 1)


@dataclass(frozen=True, kw_only=True)
class Row:
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


def entries(
    model: Model, device: str, reduced: Sequence[str], *, tile: int | Literal["auto"] = "auto"
) -> tuple[list[Entry], list[str]]:
    """Everything that can compute a model here: first what the others' parity is measured against.

    Args:
        model: to compute.
        device: as for `Computer`.
        reduced: precisions beside fp32, from `worthwhile`.
        tile: as for `Computer`; not of the reference, which computes pieces of `PIECE` pixels on a CPU,
            and elsewhere pictures as a whole.

    Returns:
        torch in fp32, the reference (on a CPU twice, in pieces and whole), and every other backend and
        precision; and what cannot take part, and why, a line each.

    Raises:
        UsageError: the reference is of another kind of network.
    """
    if not isinstance(model.network, CAMixerSR):
        raise UsageError(f"the reference is a classic CAMixerSR; {model.name} is another kind of network")
    place = Computer(model, device=device, tile=tile).device
    found = [Entry("torch", "fp32", device, tile)]
    if place == "cpu":
        found += [Entry(REFERENCE, "fp32", place, PIECE), Entry(WHOLE, "fp32", place, 0)]
    else:
        found.append(Entry(REFERENCE, "fp32", place, 0))
    missing: list[str] = []
    for backend in available(place):
        if backend.missing:
            missing.append(backend.missing)
            continue
        for precision in PRECISIONS:
            wanted = precision in backend.precisions and precision in ("fp32", *reduced)
            if wanted and (backend.name, precision) != ("torch", "fp32"):
                found.append(Entry(backend.name, precision, device, tile))
    return found, missing


@contextmanager
def apart(model: Model, entered: Sequence[Entry]) -> Generator[list[Contender]]:
    """Start entries, each in a process of its own, which end with this.

    Args:
        model: what all of them compute.
        entered: what they are.

    Yields:
        The contenders, in the order given. Computing raises what was raised in the process, and
        `DeviceError` where that has ended.
    """
    names = [f"{each.backend} in {each.precision}" for each in entered]
    processes = Processes(_run, [(model, each) for each in entered], names)

    def compute(number: int, low: Tensor, ratio: float) -> Ran:
        while number not in processes.idle:
            _heard(processes)
        processes.answer(number, (low, ratio))
        while (heard := _heard(processes)) is None or heard[0] != number:
            pass
        if isinstance(heard[1], Ran):
            return heard[1]
        raise heard[1]

    def contender(number: int) -> Contender:
        each = entered[number]
        return Contender(each.backend, each.precision, lambda low, ratio: compute(number, low, ratio))

    try:
        yield [contender(number) for number in range(len(entered))]
    except BaseException:
        processes.close(patience=0.0)  # nobody waits for what is being computed
        raise
    processes.close()


def _heard(processes: Processes) -> tuple[int, "Ran | Exception"] | None:
    """What the next process to speak says; None where it waits for its turn."""
    number, what, given = processes.asked()
    if what == "task":
        return None
    processes.answer(number)
    return number, given[0]


def _run(ask: Ask, model: Model, entry: Entry) -> None:
    """The process of an entry: pictures, one after another."""
    compute: Compute | None = None
    while True:
        low, ratio = ask("task")
        try:
            compute = compute or entry.start(model)
            ran: Ran | Exception = compute(low, ratio)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            ran = told(error)
        ask("ran", ran)


def _of_computer(computer: Computer) -> Compute:
    def compute(low: Tensor, ratio: float) -> Ran:
        began = time.perf_counter()
        result = computer.run(low.numpy(), attention_ratio=ratio)
        seconds = time.perf_counter() - began
        return Ran(
            torch.from_numpy(result.high), seconds, result.macs, result.attention_share, result.tiles,
            result.precision, result.peak_memory_bytes,
        )  # fmt: skip

    return compute


def _reference(model: Model, device: torch.device, piece: int) -> Compute:
    """The reference, in pieces of so many low pixels a side; 0 is the picture whole."""
    assert isinstance(model.network, CAMixerSR)  # `entries` has looked
    network = Reference(model.network).to(device)
    config = model.config
    s, M = config.scale, config.window

    @torch.inference_mode()
    def compute(low: Tensor, ratio: float) -> Ran:
        _, height, width = low.shape
        tall, wide = (min(length, piece or length) for length in (height, width))
        free = available_memory(device)
        needed = tall * wide * config.channels * REFERENCE_BYTES
        if free is not None and needed > free:
            raise MemoryLimitError(
                f"needs about {needed / 1e9:.1f} GB for {wide} x {tall} pixels in one piece, "
                f"{free / 1e9:.1f} are free"
            )
        policy = TopShare(ratio)
        windows = attended = pieces = 0
        reset_peak_memory(str(device))
        began = time.perf_counter()
        high = torch.empty(3, s * height, s * width)
        for top in range(0, height, tall):
            for left in range(0, width, wide):
                part = low[None, :, top : top + tall, left : left + wide]
                rows, columns = (-(-length // M) for length in part.shape[2:])
                windows += rows * columns
                attended += int(policy.choose(torch.zeros(1, rows * columns), 0).sum())
                pieces += 1
                place = slice(s * top, s * (top + tall)), slice(s * left, s * (left + wide))
                high[:, *place] = network(part.to(device), policy)[0].cpu()
        seconds = time.perf_counter() - began
        macs = count(config, windows=windows, attended=attended * sum(config.blocks)).total
        return Ran(high, seconds, macs, attended / windows, pieces, "fp32", peak_memory(str(device)))

    return compute


def race(
    contenders: Sequence[Contender],
    low: Tensor,
    *,
    scale: int,
    attention_ratios: Sequence[float],
    rounds: int,
    device: torch.device,
    progress: Progress = lambda done, total: None,
    found: Callable[[list[Row]], None] = lambda rows: None,
) -> tuple[list[Row], dict[str, float], list[str]]:
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
    rows: list[Row] = []
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
) -> Row:
    _, height, width = low.shape
    counted = _counted(runs)
    seconds = median(counted)
    gflops = 2.0 * runs[0].macs / seconds / 1e9
    peak = best.get(runs[0].precision)
    memory = [ran.peak_memory_bytes for ran in runs if ran.peak_memory_bytes is not None]
    return Row(
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
