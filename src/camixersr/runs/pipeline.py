"""Three steps at once: the next picture is decoded and the last one encoded while one is computed."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from camixersr.errors import CancelledError
from camixersr.runs.targets import Job

__all__ = ["pipeline"]

Decoded = TypeVar("Decoded")
Computed = TypeVar("Computed")
Encoded = TypeVar("Encoded")


def pipeline(
    jobs: Iterable[Job],
    *,
    decode: Callable[[Job], Decoded],
    compute: Callable[[Job, Decoded], Computed],
    encode: Callable[[Job, Computed], Encoded],
) -> Generator[tuple[Job, Encoded | Exception]]:
    """Do all jobs; an error ends its picture, never the run, unless it cancels that.

    Args:
        jobs: what to do; the next is asked for when the one before it begins to be computed.
        decode: called in a thread of its own; of one picture at a time.
        compute: called in this thread, with what `decode` returned.
        encode: called in a thread of its own, with what `compute` returned; of one picture at a time.

    Yields:
        Each job with what `encode` returned, or with what was raised, in the order of the jobs: at the
        latest when the next one has been computed.

    Raises:
        CancelledError: a step has raised it.
    """
    writing: tuple[Job, Future[Encoded]] | None = None

    def written() -> Generator[tuple[Job, Encoded | Exception]]:
        nonlocal writing
        if writing is not None:
            job, future = writing
            writing = None
            yield job, _outcome(future)

    with ThreadPoolExecutor(1, "decode") as reader, ThreadPoolExecutor(1, "encode") as writer:
        try:
            for job, decoded in _ahead(jobs, decode, reader):
                try:
                    computed = compute(job, decoded.result())
                except CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001 - one bad file never stops the rest
                    yield from written()
                    yield job, error
                    continue
                yield from written()
                writing = job, writer.submit(encode, job, computed)
            yield from written()
        except BaseException:
            for pool in (reader, writer):
                pool.shutdown(wait=False, cancel_futures=True)
            raise


def _outcome(future: Future[Encoded]) -> Encoded | Exception:
    try:
        return future.result()
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - one bad file never stops the rest
        return error


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
