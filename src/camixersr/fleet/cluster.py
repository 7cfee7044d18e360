"""Ray, and nothing else here knows it: a cluster joined or started, actors over keys, a ledger for them.

A cluster of this machine listens on the loopback address alone, with a token, and sends no statistics.
What Ray says of itself stays in its own logs.
"""

import contextlib
import logging
import os
import pickle
import secrets
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camixersr.errors import CamixerError, DeviceError
from camixersr.fleet.ledger import Asked, Ledger, State
from camixersr.fleet.places import Place
from camixersr.fleet.resources import Resources, require_heard
from camixersr.fleet.rows import Row, Task
from camixersr.fleet.scratch import Scratch
from camixersr.fleet.secrets import one_line
from camixersr.fleet.work import Orders, Worker

__all__ = ["Cluster", "RemoteLedger"]

OBJECTS = 100 * 2**20
"""Bytes of Ray's store of objects, on this machine: rows alone pass through it."""

ROWS_A_TASK = 16
"""Most keys that Ray hands to a worker at once; a worker that dies has them handed out again."""

_HERE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
"""For any cluster."""

_LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # whatever the system: Ray then listens on 127.0.0.1 alone
    "RAY_AUTH_MODE": "token",
}
"""For one of this machine alone."""


class RemoteLedger:
    """A `Ledger` in an actor, as workers see it.

    Args:
        actor: Ray's handle.
    """

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def _ask(self, name: str, *given: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self.actor, name).remote(*given))
        except Exception as error:
            if (ours := _ours(error)) is not None:
                raise ours from None
            raise DeviceError(f"the ledger of this run has ended: {_last_line(error)}") from error

    def begin(self, task: Task) -> Asked:
        """See `Ledgers.begin`."""
        return self._ask("begin", task)

    def end(self, row: Row) -> None:
        """See `Ledgers.end`."""
        self._ask("end", row)

    def set_aside(self, key: str) -> None:
        """See `Ledgers.set_aside`."""
        self._ask("set_aside", key)

    def claim(self, key: str, result: str) -> bool:
        """See `Ledgers.claim`."""
        return self._ask("claim", key, result)

    def flush(self) -> None:
        """See `Ledger.flush`."""
        self._ask("flush")

    def release(self, key: str) -> None:
        """See `Ledger.release`."""
        self._ask("release", key)

    def stop(self) -> None:
        """See `Ledger.stop`."""
        self._ask("stop")

    def state(self) -> State:
        """See `Ledger.state`."""
        return self._ask("state")

    def failures(self) -> Sequence[Row]:
        """See `Ledger.failures`."""
        return self._ask("failures")

    def close(self) -> None:
        """See `Ledger.close`."""
        self._ask("close")


class PictureActor:
    """A worker of Ray Data: a row in is a task, a row out says what came of it.

    Args:
        orders: of the run.
        ledger: its actor.
    """

    def __init__(self, orders: Orders, ledger: Any) -> None:
        self._worker = Worker(orders, RemoteLedger(ledger))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do a picture."""
        return {"status": self._worker.do(Task.read(row["task"]))}


class Cluster:
    """A Ray cluster, joined or started; close it, or use `with`.

    Args:
        resources: what workers get.

    Raises:
        DeviceError: there is none at that address, or it has too little.
    """

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        if (ray := sys.modules.get("ray")) is not None and ray.is_initialized():
            raise DeviceError(
                "Ray is in use in this process already; call ray.shutdown() first, or use another process"
            )
        self._scratch: Scratch | None = None
        self._before = {name: os.environ.get(name) for name in (*_HERE, *_LOCAL, "RAY_AUTH_TOKEN")}
        os.environ.update(_HERE)
        given: dict[str, Any] = {}
        if resources.address == "local":
            os.environ.update(_LOCAL, RAY_AUTH_TOKEN=secrets.token_hex(32))
            self._scratch = Scratch(Path(tempfile.gettempdir()), "camixersr-ray-", keep_root=True)
            given = {
                "num_cpus": self._processors(),
                "include_dashboard": False,
                "object_store_memory": OBJECTS,
                "_temp_dir": str(self._scratch.folder),
            }
        try:
            if resources.address == "auto":
                require_heard(os.environ.get("RAY_ADDRESS", ""))
            with _silent(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what matters comes as an error
                import ray

                ray.init(
                    address=resources.address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    **given,
                )
                self._prepare()
        except BaseException as error:
            self.close()
            if isinstance(error, ImportError | KeyboardInterrupt | SystemExit | DeviceError):
                raise
            raise DeviceError(f"Ray at {resources.address} cannot be used: {one_line(error)}") from error

    def _processors(self) -> int:
        """As many as the workers need; as many as there are, unless workers were asked for."""
        from camixersr.backends.devices import threads

        count = self.resources.workers
        return max(1, threads()) if count is None else count * self.resources.cpus

    def _prepare(self) -> None:
        import ray

        have: Mapping[str, float] = ray.cluster_resources()
        wanted = {"CPU": float(self.resources.cpus), "GPU": self.resources.gpus}
        fits = [int(have.get(name, 0.0) / each + 1e-6) for name, each in wanted.items() if each > 0]
        self.workers = min(fits) if self.resources.workers is None else self.resources.workers
        if self.workers < 1 or self.workers > min(fits):
            raise DeviceError(
                f"expected room for {max(1, self.workers)} workers of {self.resources.cpus} processors and "
                f"{self.resources.gpus:g} accelerators, got {have.get('CPU', 0):g} and "
                f"{have.get('GPU', 0):g}; ask for fewer or smaller workers"
            )

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        with contextlib.suppress(ImportError), _silent():
            import ray

            ray.shutdown()
        if self._scratch is not None:
            self._scratch.close()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def ledger(self, results: Place, run: str, options: str, retries: int, *, after: float) -> RemoteLedger:
        """Begin a ledger.

        Args:
            results: as for `Ledger`; likewise the others.
            run: name.
            options: digest.
            retries: of each picture.
            after: time of the latest row there.
        """
        import ray

        made = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger)
        return RemoteLedger(made.remote(results, run, options, retries, after=after))

    def pictures(self, orders: Orders, ledger: RemoteLedger, tasks: Sequence[Task]) -> "Work":
        """Begin pictures; what comes of them is told to the ledger.

        Args:
            orders: of the run.
            ledger: of the run.
            tasks: to be done.
        """
        rows = [{"task": each.line()} for each in tasks]
        return Work(lambda: self.mapped(rows, PictureActor, (orders, ledger.actor)))

    def mapped(
        self, rows: Sequence[Mapping[str, Any]], actor: type, given: tuple[Any, ...]
    ) -> Generator[dict[str, Any]]:
        """Rows through actors, by Ray Data.

        Args:
            rows: small, of plain values.
            actor: class whose objects are called with a row and return one.
            given: what they are made with.

        Yields:
            What they return, in any order.
        """
        how = (list(rows), actor, given, min(self.workers, len(rows)), self.resources)
        yield from _Far.mapped(*how) if self.resources.address.startswith("ray://") else _mapped(*how)


def _mapped(
    rows: list[Mapping[str, Any]], actor: type, given: tuple[Any, ...], count: int, each: Resources
) -> Generator[dict[str, Any]]:
    """See `Cluster.mapped`; `count` workers."""
    import ray.data

    _quiet()
    told: Any = _Told  # Ray's type knows of no arguments
    a_task = max(1, min(ROWS_A_TASK, len(rows) // (8 * count)))
    with _silent():
        data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // a_task)).map(
            told,
            fn_constructor_args=(actor, given),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count),
            num_cpus=each.cpus,
            num_gpus=each.gpus or None,
        )
        for row in data.iter_rows():
            made: Any = pickle.loads(row["told"])
            if isinstance(made, CamixerError):
                raise made
            yield made


class _Told:
    """An actor whose errors, where they are ours, come as rows: Ray would put pages of its own around them.

    Args:
        actor: class.
        given: what it is made with.
    """

    def __init__(self, actor: type, given: tuple[Any, ...]) -> None:
        self._make, self._made = lambda: actor(*given), None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """What it returns, or why it does not."""
        told: Any
        try:
            self._made = self._made or self._make()
            told = self._made(row)
        except CamixerError as error:
            told = error
        return {"told": pickle.dumps(told)}


class _Far:
    """Drives Ray Data from within a cluster: it cannot be driven over `ray://`.

    Args:
        given: as for `_mapped`.
    """

    def __init__(self, *given: Any) -> None:
        self._made = _mapped(*given)

    def take(self) -> dict[str, Any] | None:
        """The next row; None after the last."""
        try:
            return next(self._made, None)
        except CamixerError:
            raise
        except Exception as error:  # noqa: BLE001 - Ray's own, which cannot all be sent
            raise DeviceError(_last_line(error)) from None

    @classmethod
    def mapped(cls, *given: Any) -> Generator[dict[str, Any]]:
        """As `_mapped`, by an actor of this kind."""
        import ray

        far: Any = ray.remote(num_cpus=0)(cls).remote(*given)
        try:
            while True:
                row: Any = ray.get(far.take.remote())
                if row is None:
                    return
                yield row
        except Exception as error:
            if (ours := _ours(error)) is None:
                raise
            raise ours from None
        finally:
            with contextlib.suppress(Exception):
                ray.kill(far)


def _last_line(error: BaseException) -> str:
    """What went wrong, without the traceback that Ray puts before it."""
    lines = [each for each in str(error).splitlines() if each.strip()]
    return one_line(RuntimeError(lines[-1])) if lines else type(error).__name__


def _ours(error: BaseException | None) -> CamixerError | None:
    """What was raised in a worker, without Ray's words around it; None if that was no error of ours."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        cause = getattr(error, "cause", None)  # Ray's errors are of both kinds, and print a traceback
        if isinstance(error, CamixerError) and cause is None:
            return error
        error = cause if isinstance(cause, BaseException) else error.__cause__
    return None


class Work:
    """Rows on their way, in a thread of their own.

    Args:
        begin: gives an iterator over what comes of them.
    """

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="fleet", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for _ in self._begin():
                pass
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`
            self._error = error

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether all is done.

        Raises:
            DeviceError: Ray gave up.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            if isinstance(self._error, CamixerError):
                raise self._error
            raise DeviceError(f"Ray gave up: {_last_line(self._error)}") from self._error
        return True


def _quiet() -> None:
    """Ray Data shows nothing."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_operator_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


@contextmanager
def _silent() -> Generator[None]:
    """What Ray logs in here by Python is not for the user."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data", "ray._private")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
