"""`camixersr fleet`: many machines, folders or object stores."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from camixersr.cli.flags import FIRST, INPUTS, options_of, with_flags
from camixersr.cli.stopping import Stopping, command
from camixersr.cli.talk import is_quiet, say
from camixersr.errors import MissingExtraError
from camixersr.extras import install_line
from camixersr.units import shown_time

if TYPE_CHECKING:
    from camixersr.fleet.run import Progress, Summary

__all__ = ["app"]

app = App(name="fleet", help="Enlarge pictures on many machines, in folders or object stores.")

WORKERS = Group("Workers", sort_key=-1)

SHOWN = 20
"""Failures that are printed; all of them are rows."""


@app.command
@with_flags(leave_out=frozenset({"preview"}))
def upscale(
    source: Annotated[str, Parameter(name="SOURCE")],
    dest: Annotated[str, Parameter(name="DEST")],
    /,
    *,
    address: Annotated[str, Parameter(group=WORKERS)] = "local",
    workers: Annotated[int | None, Parameter(group=WORKERS)] = None,
    cpus_per_worker: Annotated[int, Parameter(group=WORKERS)] = 1,
    gpus_per_worker: Annotated[float, Parameter(group=WORKERS)] = 0.0,
    retries: Annotated[int, Parameter(group=WORKERS)] = 2,
    shard_above: Annotated[float | Literal["never"], Parameter(group=WORKERS)] = 50.0,
    scratch: Annotated[Path | None, Parameter(group=WORKERS)] = None,
    overwrite: Annotated[bool, Parameter(negative=(), group=FIRST)] = False,
    max_pixels: Annotated[int | None, Parameter(group=INPUTS)] = None,
    given: Any = None,
) -> int:
    """Enlarge all pictures of a folder or an object store. A second run does what is missing or changed.

    Parameters
    ----------
    source
        Folder of pictures, or an address: s3://bucket/photos, gs://, az:// or file://. Credentials come
        from the environment.
    dest
        Folder or address for the results, and for a table of what was done (camixersr-fleet/rows).
    address
        Ray cluster. local: start one on this machine. auto: the cluster that runs here. Or ray://host:port.
    workers
        How many workers. Default: one for each processor, or for each accelerator.
    cpus_per_worker
        Processors of a worker.
    gpus_per_worker
        Accelerators of a worker, or a share of one such as 0.5.
    retries
        How often to try again when a picture fails.
    shard_above
        Megapixels of a picture from which on all workers share its tiles, or never.
    scratch
        Folder on each machine for files under way. Default: in DEST, or the system's folder.
    overwrite
        Replace files in DEST that no fleet has made.
    max_pixels
        Refuse inputs with more pixels before decoding them. Default: 2,000,000,000.
    """
    options = options_of(given)
    try:
        from camixersr.fleet.resources import Resources
        from camixersr.fleet.run import upscale_fleet
    except ImportError as error:
        raise _missing() from error
    from camixersr.image.picture import MAX_PIXELS

    with _own_stderr(), _Line() as line, Stopping(line.say) as stopping:
        try:
            summary = upscale_fleet(
                source,
                dest,
                options=options,
                resources=Resources(
                    address=address, workers=workers, cpus=cpus_per_worker, gpus=gpus_per_worker
                ),
                retries=retries,
                shard_above=None if shard_above == "never" else shard_above,
                scratch=scratch,
                overwrite=overwrite,
                max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
                on_progress=line,
                cancel=stopping,
                say=line.say,
            )
        except ModuleNotFoundError as error:
            if error.name not in ("ray", "obstore", "pyarrow", "pandas"):
                raise
            raise _missing() from error
    return _report(summary, stopped=stopping())


@contextmanager
def _own_stderr() -> Generator[None]:
    """Ray's native code logs on the process's stderr; in here that is ours alone, unless --verbose."""
    import logging

    if logging.getLogger("camixersr").level <= logging.DEBUG:
        yield
        return
    sys.stderr.flush()
    before, ours = sys.stderr, os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = os.fdopen(os.dup(ours), "w", buffering=1, errors="backslashreplace")
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        os.dup2(ours, 2)
        os.close(ours)


def _missing() -> MissingExtraError:
    return MissingExtraError(f"a fleet needs an extra; {install_line('fleet')}")


def _report(summary: "Summary", *, stopped: bool) -> int:
    from camixersr.image.files import printable

    for row in summary.failures[:SHOWN]:
        name, line = printable(row.key), printable(row.error)
        print(f"camixersr: {line if line.startswith(name) else f'{name}: {line}'}", file=sys.stderr)
    if len(summary.failures) > SHOWN:
        print(f"camixersr: {len(summary.failures) - SHOWN} more failed; see the rows", file=sys.stderr)
    if not is_quiet():
        speed = summary.megapixels / summary.seconds if summary.seconds else 0.0
        parts = [
            f"{summary.done} done",
            f"{len(summary.failures)} failed",
            f"{summary.there} there already",
        ]
        parts += [f"{summary.left} left"] if summary.left else []
        parts += [f"{summary.retried} tried again"] if summary.retried else []
        made = f"; {summary.megapixels:.1f} Mpx in {shown_time(summary.seconds)}, {speed:.2f} Mpx/s"
        print(f"{summary.pictures} pictures: {', '.join(parts)}{made if summary.done else ''}", flush=True)
    if stopped and summary.left:
        print(f"camixersr: stopped; to go on:\n  {command()}", file=sys.stderr)
        return 130
    if summary.left and not stopped:
        print(
            f"camixersr: {summary.left} pictures were lost with a process of Ray's; "
            "run the same command again",
            file=sys.stderr,
        )
        return 1
    return 3 if summary.failures else 0


class _Line:
    """How far it is: a bar on a terminal, elsewhere a line now and then."""

    EVERY = 30.0

    def __init__(self) -> None:
        import time

        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        console = Console(stderr=True)
        self._live = console.is_terminal and not is_quiet()
        self._clock, self._told = time.monotonic, time.monotonic()
        self._bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "_Line":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar."""
        if self._live:
            self._bar.console.print(f"camixersr: {line}", markup=False, highlight=False)
        else:
            say(line)

    def __call__(self, progress: "Progress") -> None:
        """Be told how far it is."""
        left = "" if progress.seconds_left is None else f", {shown_time(progress.seconds_left)} left"
        failed = f", {progress.failed} failed" if progress.failed else ""
        words = f"{progress.done} of {progress.pictures} done{failed}{left}"
        words += f", {progress.megapixels_a_second:.2f} Mpx/s"
        self._bar.update(
            self._task,
            total=progress.pictures,
            completed=progress.done + progress.failed,
            description=words,
        )
        if not self._live and self._clock() - self._told >= self.EVERY:
            self._told = self._clock()
            say(words)
