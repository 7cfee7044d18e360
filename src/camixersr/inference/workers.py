"""One picture on several devices: a process for each takes the next batch when it has done its last.

It reads the batch and writes its result where the picture lies: in memory or files that all share.
"""

from collections import deque
from collections.abc import Generator, Sequence

from camixersr.backends.choose import make
from camixersr.backends.devices import peak_memory, reset_peak_memory
from camixersr.backends.protocol import Step
from camixersr.inference.cost import Bill, Done
from camixersr.inference.plan import Plan
from camixersr.inference.schedule import Batch, compute_here
from camixersr.inference.sources import Canvas, Source
from camixersr.processes import Ask, Processes, told
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
            self._processes = Processes(_work, self._given, self._names)
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
        task = plan, source, canvas
        left, begun = deque(batches), set(processes.idle)
        for number in begun:
            processes.answer(number, task)
        try:
            while len(begun) < len(processes) or len(processes.idle) < len(processes):
                number, what, given = processes.asked()
                if what == "task" and number not in begun:
                    begun.add(number)
                    processes.answer(number, task)
                elif what == "batch":
                    processes.answer(number, left.popleft() if left else None)
                elif what == "step":
                    bill.advance(*given)
                    processes.answer(number)
                elif what == "done":
                    processes.answer(number)
                    done, peak = given
                    bill.elsewhere(number, peak)
                    yield done
                elif what == "failed":
                    processes.answer(number)
                    raise given[0]
        finally:
            processes.rest()
            if not len(processes):
                self._processes = None


def _work(ask: Ask, model: Model, name: str, device: str, precision: str) -> None:
    """What a process does: pictures, one after another, and of each the batches that nobody else does."""
    backend = make(model, name, device=device, precision=precision)

    def watch(pixels: int) -> Step:
        return lambda: ask("step", pixels)

    while True:
        plan, source, canvas = ask("task")
        try:
            reset_peak_memory(device)
            batches = iter(lambda: ask("batch"), None)
            for done in compute_here(backend, plan, batches, source, canvas, watch):
                ask("done", done, peak_memory(device))
        except KeyboardInterrupt:  # of this picture; of all, if "task" is answered so
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            ask("failed", told(error))
        finally:
            canvas.close()
            del plan, source, canvas
