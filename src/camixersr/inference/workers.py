"""One picture on several devices: a process for each takes the next batch when it has done its last.

It reads the batch and writes its result where the picture lies: in memory or files that all share.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from camixersr.backends.choose import make
from camixersr.backends.devices import peak_memory, reset_peak_memory
from camixersr.backends.protocol import Step
from camixersr.inference.cost import Bill, Done
from camixersr.inference.plan import Plan
from camixersr.inference.schedule import Batch, compute_here
from camixersr.inference.sources import Canvas, Source
from camixersr.messages import GoingOn, Next
from camixersr.processes import Ask, Processes, Work
from camixersr.weights import Model

__all__ = ["Workers"]


class Workers:
    """A process for each device, started when they are first wanted.

    Args:
        model: each gets a copy of it.
        backend: by name; each makes its own.
        devices: as many as processes.
        precision: of the backend.
    """

    def __init__(self, model: Model, backend: str, devices: Sequence[str], precision: str) -> None:
        self._given = [(model, backend, device, precision) for device in devices]
        self._names = tuple(devices)
        self._processes: Processes | None = None

    def start(self) -> Processes:
        """The processes; they load what they need while the caller goes on."""
        if self._processes is None:
            self._processes = Processes(_begin, self._given, self._names)
        return self._processes

    def close(self) -> None:
        """End the processes."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def share(
        self, plan: Plan, batches: Sequence[Batch], source: Source, canvas: Canvas, bill: Bill
    ) -> Generator[list[Done]]:
        """`compute_here`, on all devices: source and canvas are copied by pickling, in any order.

        Raises:
            MemoryLimitError: the memory does not suffice for the smallest tile.
            DeviceError: the process of a device has ended.
        """
        processes = self.start()
        try:
            with closing(processes.share((plan, source, canvas), batches)) as said:
                for number, message in said:
                    match message:
                        case GoingOn(pixels):
                            bill.advance(pixels)
                            processes.answer(number)
                        case _Computed(done, peak):
                            processes.answer(number)
                            bill.elsewhere(number, peak)
                            yield done
                        case _:
                            raise AssertionError(message)
        finally:
            if not len(processes):
                self._processes = None


@dataclass(frozen=True)
class _Computed:
    """A batch is done.

    Attributes:
        done: its tiles.
        peak: highest memory of the process, bytes; None where it is not known.
    """

    done: list[Done]
    peak: int | None


def _begin(model: Model, name: str, device: str, precision: str) -> Work:
    """What a process does: pictures, one after another, and of each the batches that nobody else does."""
    backend = make(model, name, device=device, precision=precision)

    def work(ask: Ask, task: tuple[Plan, Source, Canvas]) -> None:
        plan, source, canvas = task

        def watch(pixels: int) -> Step:
            return lambda: ask(GoingOn(pixels))

        try:
            reset_peak_memory(device)
            batches = iter(lambda: ask(Next()), None)
            for done in compute_here(backend, plan, batches, source, canvas, watch):
                ask(_Computed(done, peak_memory(device)))
        finally:
            canvas.close()

    return work
