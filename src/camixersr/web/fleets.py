"""Fleets in the service: which places may be named, and the process that does one.

A fleet reads and writes with the rights and the credentials of the service. So only places below those that
the operator has named are taken, and without any no fleet is.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camixersr.enlarge.options import Options
from camixersr.errors import CamixerError, UsageError
from camixersr.fleet.places import place_of
from camixersr.web.store import State
from camixersr.web.worker import (
    JobAdvanced,
    JobOver,
    JobRemarked,
    Orders,
    WorkerReady,
)

if TYPE_CHECKING:
    from camixersr.fleet.run import Progress, Summary

__all__ = ["FleetOrder", "NotAllowedError", "admitted", "run_fleet", "work"]

SHOWN = 20
"""Failures that are told; all of them are rows."""
TOLD = 1.0
"""Seconds between two words of progress."""


class NotAllowedError(Exception):
    """A place that the operator has not named."""


@dataclass(frozen=True)
class FleetOrder:
    """What is to be done.

    Attributes:
        source: an address.
        dest: likewise.
        options: how to enlarge and to write.
    """

    source: str
    dest: str
    options: Options


def admitted(name: str, given: str, roots: Sequence[str]) -> str:
    """The address of a place that may be used.

    Args:
        name: how it is called, for the error.
        given: a folder, or an address of an object store.
        roots: places that the operator has named; the place must be one of them, or lie below.

    Returns:
        The address, without links and dots.

    Raises:
        NotAllowedError: it is none of those.
        UsageError: it is no place.
    """
    if not roots:
        raise NotAllowedError("fleets are off; --fleet-source and --fleet-dest of the service allow places")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", given)
    if scheme is None and not Path(given).is_absolute():
        raise UsageError(f"{name} must be a whole path or an address, got {given[:200]!r}")
    is_store = scheme is not None and scheme[1].lower() != "file"
    # a store's client would resolve these after the comparison
    if is_store and re.search(r"[%\\]|/\.{1,2}(/|$)|[^:]//", given):
        raise UsageError(f"{name} must be an address without %, \\, // and parts of dots alone")
    place = place_of(name, given)
    if not any(place_of(name, root).holds(place) for root in roots):
        raise NotAllowedError(f"{name} must lie in a place that the service allows, got {given[:200]!r}")
    return place.url


def work(
    connection: "Connection[Any, Any]",
    device: str,
    backend: Any,
    max_pixels: int,
    address: str,
    workers: int | None,
    lock: Path,
) -> None:
    """Do one fleet when it comes, and end: what Ray leaves in a process goes with it.

    It hears `DoJob` and `CancelJob`, and says `WorkerReady`, `JobAdvanced`, `JobRemarked` and `JobOver`.

    Args:
        connection: to the server.
        device: where each worker computes.
        backend: what computes.
        max_pixels: larger pictures are refused.
        address: of the cluster.
        workers: how many; None for as many as there is room for.
        lock: a file that is held as long as the process lives: another service waits for it.
    """
    orders = Orders(connection, lock)
    line = orders.line
    line.send(WorkerReady([]))
    do = orders.next()
    _silence()
    order: FleetOrder = do.options
    try:
        state, outcome = run_fleet(
            replace(order, options=replace(order.options, device=device, backend=backend)),
            address=address,
            workers=workers,
            max_pixels=max_pixels,
            advanced=lambda over, pictures: line.send(JobAdvanced(do.job, over, pictures)),
            remark=lambda text: line.send(JobRemarked(do.job, text)),
            cancelled=lambda: orders.is_cancelled(do.job),
        )
        line.send(JobOver(do.job, state, outcome, None))
    except (CamixerError, MemoryError, OSError) as error:
        line.send(JobOver(do.job, "failed", None, " ".join(str(error).split()) or "out of memory"))
    orders.close()


def run_fleet(
    order: FleetOrder,
    *,
    address: str,
    workers: int | None,
    max_pixels: int,
    advanced: Callable[[float, float], None],
    remark: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> tuple[State, dict[str, Any]]:
    """Do a fleet, or what an earlier run of it has left.

    Args:
        order: what is to be done.
        address: of the cluster.
        workers: how many; None for as many as there is room for.
        max_pixels: larger pictures are refused.
        advanced: told how many pictures are done or failed, and of how many.
        remark: told lines for a person.
        cancelled: whether to begin no more pictures.

    Returns:
        "done" or "cancelled", and the outcome: `facts` and `failures`.

    Raises:
        CamixerError: see `camixersr.fleet.run.upscale_fleet`.
    """
    from camixersr.fleet.cluster import Resources
    from camixersr.fleet.run import upscale_fleet

    told = 0.0

    def progress(state: "Progress") -> None:
        nonlocal told
        over = state.done + state.failed
        if time.monotonic() - told < TOLD and over < state.pictures:
            return
        told = time.monotonic()
        advanced(float(over), float(state.pictures))
        failed = f"{state.failed} failed, " if state.failed else ""
        remark(f"{failed}{state.megapixels_a_second:.2f} Mpx/s")

    summary = upscale_fleet(
        order.source,
        order.dest,
        options=order.options,
        resources=Resources(address=address, workers=workers),
        max_pixels=max_pixels,
        on_progress=progress,
        cancel=cancelled,
        say=lambda text: remark(" ".join(text.split())),
    )
    stopped = cancelled() and summary.left > 0
    return "cancelled" if stopped else "done", _outcome(summary)


def _silence() -> None:
    """Ray's native code logs on the process's stderr, which is the server's."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    logging.getLogger("ray").setLevel(logging.ERROR)


def _outcome(summary: "Summary") -> dict[str, Any]:
    facts = {
        "pictures": summary.pictures,
        "there": summary.there,
        "done": summary.done,
        "failed": len(summary.failures),
        "left": summary.left,
        "retried": summary.retried,
        "megapixels": round(summary.megapixels, 3),
        "seconds": round(summary.seconds, 1),
    }
    lines = [
        row.error if row.error.startswith(row.key) else f"{row.key}: {row.error}"
        for row in summary.failures[:SHOWN]
    ]
    return {"facts": facts, "failures": [" ".join(each.split()) for each in lines]}
