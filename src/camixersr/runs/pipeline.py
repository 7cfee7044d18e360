"""Three steps at once: the next picture is decoded and the last one encoded while one is computed."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from camixersr.errors import CamixerError, InputError
from camixersr.image.files import shown
from camixersr.runs.targets import Job

__all__ = ["Failure", "run"]

Decoded = TypeVar("Decoded")
Computed = TypeVar("Computed")


@dataclass(frozen=True)
class Failure:
    """A picture that could not be done, why, and what was raised."""

    job: Job
    error: CamixerError
    cause: Exception


def _guarded(error: Exception, job: Job) -> CamixerError:
    """An error of ours, whatever went wrong."""
    if isinstance(error, CamixerError):
        return error
    what = "out of memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
    return InputError(f"{shown(job.source)}: {what}")


def run(
    jobs: Iterable[Job],
    *,
    decode: Callable[[Job], Decoded],
    compute: Callable[[Job, Decoded], Computed],
    encode: Callable[[Job, Computed], None],
    finished: Callable[[Job], None] = lambda _: None,
) -> list[Failure]:
    """Do all jobs: the next picture is decoded and the last one encoded while others are computed.

    An error ends its picture, never the run. Order, and so every result, is that of `jobs`.

    Args:
        jobs: what to do; the next is asked for when the one before it begins to be computed.
        decode: called in a thread of its own; of one picture at a time.
        compute: called in this thread, with what `decode` returned.
        encode: called in a thread of its own, with what `compute` returned; of one picture at a time.
        finished: called in this thread after each picture, good or bad.

    Returns:
        What failed, in order.
    """
    failures: list[Failure] = []
    writing: tuple[Job, Future[None]] | None = None

    def fail(job: Job, error: Exception) -> None:
        failures.append(Failure(job, _guarded(error, job), error))
        finished(job)

    def settle() -> None:
        if writing is not None:
            job, future = writing
            try:
                future.result()
            except Exception as error:  # noqa: BLE001 - one bad file never stops the rest
                fail(job, error)
            else:
                finished(job)

    with ThreadPoolExecutor(1, "decode") as reader, ThreadPoolExecutor(1, "encode") as writer:
        try:
            for job, decoded in _ahead(jobs, decode, reader):
                try:
                    computed = compute(job, decoded.result())
                except Exception as error:  # noqa: BLE001 - one bad file never stops the rest
                    settle()
                    writing = None
                    fail(job, error)
                    continue
                settle()
                writing = job, writer.submit(encode, job, computed)
            settle()
        except BaseException:
            for pool in (reader, writer):
                pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def _ahead(
    jobs: Iterable[Job], decode: Callable[[Job], Decoded], reader: ThreadPoolExecutor
) -> Generator[tuple[Job, Future[Decoded]]]:
    """Each job with what is decoded of it, while the next is being decoded."""
    last: tuple[Job, Future[Decoded]] | None = None
    for job in jobs:
        if last is not None:
            wait([last[1]])
        following = job, reader.submit(decode, job)
        if last is not None:
            yield last
        last = following
    if last is not None:
        wait([last[1]])
        yield last
