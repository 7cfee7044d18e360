"""Whatever can compute a network here, each in a process of its own, as where somebody uses it.

In one process they would share an allocator, and it learns: glibc's, once large maps were freed, takes such
maps from the heap and no longer from the system page by page, and the reference, which never frees any so
large, took 25 to 30 microseconds a low pixel after somebody else had, and 37 to 40 on its own.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from camixersr.backends.choose import Precision, available
from camixersr.backends.devices import peak_memory, reset_peak_memory
from camixersr.errors import MemoryLimitError, UsageError
from camixersr.inference.computer import Computer
from camixersr.messages import Failed, Idle
from camixersr.models import classic
from camixersr.nn.routing import TopShare
from camixersr.operations import count
from camixersr.processes import Ask, Processes, Work
from camixersr.speed.machine import available_memory
from camixersr.speed.reference import Reference
from camixersr.weights import Model

__all__ = ["PIECE", "REFERENCE", "WHOLE", "Compute", "Contender", "Entrant", "Ran", "apart", "entries"]

REFERENCE = "reference"

WHOLE = "reference, whole"
"""The reference on whole maps, which fit no cache: beside the others, and not what they are measured by."""

PIECE = 128
"""Side of the pieces that the reference computes on a CPU, in low pixels: where whole maps leave the caches
it takes twice as long and more, which would flatter everybody else."""

LARGE = 256 * 256
"""Above so many low pixels the reference on whole maps is left out: it would take most of the time."""

REFERENCE_BYTES = 110
"""Memory of the reference at its peak, for a low pixel and channel. Measured with S at 256 and 384
pixels a side on the CPU: 1,183 to 3,967 bytes a low pixel."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")


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
class Entrant:
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


def entries(
    model: Model, device: str, reduced: Sequence[str], *, tile: int | Literal["auto"] = "auto"
) -> tuple[list[Entrant], list[str]]:
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
    if classic(model.network) is None:
        raise UsageError(f"the reference is a classic CAMixerSR; {model.name} is another kind of network")
    place = Computer(model, device=device, tile=tile).device
    found = [Entrant("torch", "fp32", device, tile)]
    if place == "cpu":
        found += [Entrant(REFERENCE, "fp32", place, PIECE), Entrant(WHOLE, "fp32", place, 0)]
    else:
        found.append(Entrant(REFERENCE, "fp32", place, 0))
    missing: list[str] = []
    for backend in available(place):
        if backend.missing:
            missing.append(backend.missing)
            continue
        for precision in PRECISIONS:
            wanted = precision in backend.precisions and precision in ("fp32", *reduced)
            if wanted and (backend.name, precision) != ("torch", "fp32"):
                found.append(Entrant(backend.name, precision, device, tile))
    return found, missing


@contextmanager
def apart(model: Model, entered: Sequence[Entrant]) -> Generator[list[Contender]]:
    """Start entries, each in a process of its own, which end with this.

    Args:
        model: what all of them compute.
        entered: what they are.

    Yields:
        The contenders, in the order given. Computing raises what was raised in the process, and
        `DeviceError` where that has ended.
    """
    names = [f"{each.backend} in {each.precision}" for each in entered]
    processes = Processes(_begin, [(model, each) for each in entered], names)

    def compute(number: int, low: Tensor, ratio: float) -> Ran:
        while number not in processes.idle:
            processes.hear()
        processes.answer(number, (low, ratio))
        while True:
            match processes.hear():
                case _, Idle():  # another one, which waits for its turn
                    pass
                case speaker, message:
                    processes.answer(speaker)
                    if isinstance(message, Failed):
                        raise message.error
                    return message

    def contender(number: int) -> Contender:
        each = entered[number]
        return Contender(each.backend, each.precision, lambda low, ratio: compute(number, low, ratio))

    try:
        yield [contender(number) for number in range(len(entered))]
    except BaseException:
        processes.close(patience=0.0)  # nobody waits for what is being computed
        raise
    processes.close()


def _begin(model: Model, entry: Entrant) -> Work:
    """The process of an entry: pictures, one after another."""
    compute: Compute | None = None

    def work(ask: Ask, task: tuple[Tensor, float]) -> None:
        nonlocal compute
        compute = compute or entry.start(model)
        ask(compute(*task))

    return work


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
    own = classic(model.network)
    assert own is not None  # `entries` has looked
    network = Reference(own).to(device)
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
