"""A fleet's run: what there is to do, workers that do it, a report. The call for whoever asks.

The command line calls `upscale_fleet`, and a service can: it needs no terminal and prints nothing.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from camixersr import __version__
from camixersr.enlarge.options import Options
from camixersr.errors import UsageError, ValueRangeError
from camixersr.fleet.cluster import Cluster, RemoteLedger
from camixersr.fleet.keys import kept_apart, pictures_in, tasks_for
from camixersr.fleet.ledger import State
from camixersr.fleet.places import Place, Store, place_of
from camixersr.fleet.resources import Resources
from camixersr.fleet.rows import (
    HOME,
    ROWS,
    RUNS,
    Row,
    Task,
    foreign_in,
    locks_of,
    rows_in,
    runs_in,
    standing,
    todo,
)  # fmt: skip
from camixersr.fleet.scratch import holding, sweep
from camixersr.fleet.shards import Shards, clear
from camixersr.fleet.work import Orders, digest_of, scratch_root
from camixersr.image.picture import MAX_PIXELS
from camixersr.runs.models import Models

__all__ = ["Progress", "Summary", "upscale_fleet"]

POLL = 0.5
"""Seconds between two looks at how far a run is."""

PATIENCE = 10.0
"""Seconds that workers have to end, once Ray has."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        pictures: that this run does.
        done: of these.
        failed: of these.
        megapixels_a_second: of results, of late.
        seconds_left: as far as is known; None at the beginning.
    """

    pictures: int
    done: int
    failed: int
    megapixels_a_second: float
    seconds_left: float | None


@dataclass(frozen=True)
class Summary:
    """What came of a run.

    Attributes:
        pictures: in the source.
        there: of these were done before.
        done: were done now.
        failures: rows of those that failed now.
        left: were not begun, or not finished: the run was stopped.
        retried: attempts beyond the first.
        megapixels: of results made now.
        seconds: it took, from the first picture to the last.
    """

    pictures: int
    there: int
    done: int
    failures: tuple[Row, ...]
    left: int
    retried: int
    megapixels: float
    seconds: float


def upscale_fleet(
    source: str | Place,
    results: str | Place,
    *,
    options: Options | None = None,
    resources: Resources | None = None,
    retries: int = 2,
    shard_above: float | None = 50.0,
    scratch: Path | None = None,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    cancel: Callable[[], bool] = lambda: False,
    say: Say = lambda line: None,
) -> Summary:
    """Enlarge all pictures of a folder or a prefix, on many workers.

    Results have the names and the bytes of `camixersr upscale`. Rows in the place of results say what is
    done, and another run does what is missing or has changed.

    Args:
        source: a folder, or an address such as s3://bucket/photos.
        results: likewise; made if it is missing.
        options: how to enlarge and to write.
        resources: the cluster, and what workers get.
        retries: attempts beyond the first, of each picture.
        shard_above: megapixels of a picture from which on all workers share its tiles; None for never.
        scratch: folder, of each machine, for what is under way.
        overwrite: replace files that no run of a fleet has made.
        max_pixels: larger pictures are refused.
        on_progress: told twice a second how far it is.
        cancel: asked as often whether to stop: no picture is begun any more, and those under way end.
        say: told, in a line each, what a person wants to know.

    Returns:
        What came of it; also if it was stopped.

    Raises:
        UsageError: places or options that do not go together.
        ImageError: no pictures there.
        OutputError: another run writes there, or rows cannot be written.
        DeviceError: Ray cannot be used.
        CamixerError: a model or device that is not there.
    """
    options, resources = options or Options(), resources or Resources()
    if retries < 0:
        raise ValueRangeError(f"--retries must be at least 0, got {retries}")
    if max_pixels < 1:
        raise ValueRangeError(f"--max-pixels must be at least 1, got {max_pixels}")
    if shard_above is not None and not shard_above >= 0:
        raise ValueRangeError(f"--shard-above must be at least 0, got {shard_above:g}")
    if scratch is not None and not scratch.is_dir():
        raise UsageError(f"--scratch must be a folder that exists, got {scratch}")
    if "," in options.device or options.device == "all":
        raise UsageError("each worker computes on one device; give --workers and --gpus-per-worker")
    if options.preview:
        raise UsageError("--preview is for a quick look at a picture; use `camixersr upscale`")
    here = place_of("SOURCE", source) if isinstance(source, str) else source
    there = place_of("DEST", results) if isinstance(results, str) else results
    if there.holds(here):
        raise UsageError(f"DEST must not be SOURCE, nor hold it, got {there}; name another place")
    models = Models(options, restoring=False, say=say)
    record = models.record()
    digest = digest_of(record)
    store = there.open()
    pictures = pictures_in(here, here.open(), there, say)
    tasks = tasks_for(
        pictures,
        size=options.size.label(models.default_scale),
        template=options.name or "{stem}_{size}",
        suffix=options.suffix,
    )
    root = scratch_root(there, scratch)
    with _held(there):
        sweep(root)
        rows = list(rows_in(store))
        entries = {each.key: each for each in store.entries() if not each.key.startswith(HOME)}
        known_rows = standing(rows)
        left = todo(tasks, known_rows, entries, digest)
        there_before = {task.key for task in tasks} - {task.key for task in left}
        clear(store, root, here, there, digest, left)
        known = Summary(len(tasks), len(tasks) - len(left), 0, (), 0, 0, 0.0, 0.0)
        if not left:
            return known
        began, run = time.time(), f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        ours = {row.result for row in rows}
        foreign = {} if overwrite else foreign_in(entries.values(), ours, runs_in(store))
        refused = [task for task in left if task.result in foreign]
        orders = Orders(
            source=here,
            results=there,
            options=options,
            digest=digest,
            models=record["model"],
            scratch=scratch,
            max_pixels=max_pixels,
            shard_above=None if shard_above is None else round(shard_above * 1e6),
            threads=resources.cpus if not resources.gpus else None,
        )
        with Cluster(resources) as cluster:
            about = {
                "began": began, "version": __version__, "source": here.url, "results": there.url,
                "pictures": len(left), "workers": cluster.workers, "digest": digest, "options": record,
                "foreign": {task.result: foreign[task.result] for task in refused},
            }  # fmt: skip
            store.write(f"{RUNS}{run}.json", json.dumps(about, indent=2).encode("ascii"))
            after = max((row.time for row in rows), default=0.0)
            ledger = cluster.ledger(there, run, digest, retries, after=after)
            try:
                for task in refused:
                    ledger.end(_refused(task, digest))
                owners: dict[str, str | None] = {
                    row.result: key for key in there_before for row in known_rows.get(key, ())
                }
                going = [task for task in left if task.result not in foreign]
                going = kept_apart(going, owners | dict.fromkeys(foreign))
                large = _Run(orders, cluster, ledger, left, on_progress, cancel, say).do(going, store)
                state = ledger.state()
                failures = tuple(ledger.failures())
            finally:
                ledger.close()
        sweep(root, patience=PATIENCE)  # workers that were ended have not
        ended = state.done + len(failures)
        unfinished = [each for each in left if each.key not in large] if ended < len(left) else []
        clear(store, root, here, there, digest, unfinished)
        with contextlib.suppress(OSError):
            root.rmdir()
    return Summary(
        len(tasks), known.there, state.done, failures, len(left) - ended, state.retried,
        state.megapixels, state.seconds,
    )  # fmt: skip


def _refused(task: Task, digest: str) -> Row:
    return Row(
        key=task.key,
        size=task.size,
        version=task.version,
        options=digest,
        status="failed",
        error=f"{task.result}: exists already, and no fleet has made it; add --overwrite to replace it",
    )


class _Run:
    """Pictures under way."""

    def __init__(
        self,
        orders: Orders,
        cluster: Cluster,
        ledger: RemoteLedger,
        tasks: Sequence[Task],
        tell: Callable[[Progress], None],
        cancel: Callable[[], bool],
        say: Say,
    ) -> None:
        self._orders, self._cluster, self._ledger, self._say = orders, cluster, ledger, say
        self._tell, self._cancel = tell, cancel
        self._count, self._bytes = len(tasks), sum(each.size for each in tasks)
        self._by_key: dict[str, Task] = {}
        self._looked = 0.0

    def do(self, tasks: Sequence[Task], store: Store) -> set[str]:
        """Do them all, or what is possible until it is stopped.

        Returns:
            Keys of large pictures that have rows now.
        """
        ended: set[str] = set()
        self._by_key = {each.key: each for each in tasks}
        if tasks:
            self._say(f"{len(tasks)} pictures for {self._cluster.workers} workers")
            work = self._cluster.pictures(self._orders, self._ledger, tasks)
            while not work.wait(POLL):
                state = self._look()
                if state.stopping and not state.running:
                    return ended
        state = self._look()
        if state.large and not state.stopping:
            shards = Shards(self._orders, self._cluster, self._ledger, store, self._say)
            for key in state.large:
                task = self._by_key[key]
                if not self._stopped() and shards.do(task, check=self._stopped_or_told):
                    ended.add(key)
                self._look()
        return ended

    def _stopped(self) -> bool:
        if not self._cancel():
            return False
        self._ledger.stop()
        return True

    def _stopped_or_told(self) -> bool:
        """Whether to stop; asked often, and now and then it tells how far it is."""
        if time.monotonic() - self._looked >= POLL:
            self._look()
        return self._stopped()

    def _look(self) -> State:
        """How far it is, told to whoever listens."""
        self._looked = time.monotonic()
        self._stopped()
        state = self._ledger.state()
        left = None
        if state.input_bytes and state.seconds > 2 * POLL:
            left = (self._bytes - state.input_bytes) * state.seconds / state.input_bytes
        self._tell(Progress(self._count, state.done, state.failed, state.speed, left))
        return state


@contextmanager
def _held(place: Place) -> Generator[None]:
    """Hold a place of results: two runs at once would do everything twice."""
    home, name = locks_of(place), str(place)
    held = holding(home / ".held", name)
    try:
        os.close(holding(home / ".rows", name))  # the ledger of a run that was killed has ended, too
        if place.folder is not None:
            for path in (place.folder / ROWS).glob(".camixersr-*"):  # what it was writing
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(held)
