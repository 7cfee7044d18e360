"""News of jobs, numbered, so that a listener who was cut off goes on where it was."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Hub", "News"]

KEPT = 2000
"""News that are kept for those who come back."""
PING = 15.0
"""Seconds of silence after which a listener hears that the line is up."""


@dataclass(frozen=True)
class News:
    """Something about a job.

    Attributes:
        mark: to come back with; empty for a sign of life.
        kind: "job", "gone", or "ping".
        id: of the job.
        owner: whose it is.
        data: JSON values.
    """

    mark: str
    kind: str
    id: str
    owner: str
    data: Mapping[str, Any]


class Hub:
    """Where news come in, from any thread, and go out, in the event loop."""

    def __init__(self) -> None:
        self._boot = secrets.token_hex(4)
        self._kept: deque[tuple[int, News]] = deque(maxlen=KEPT)
        self._count = 0
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def open(self) -> None:
        """Begin, in the loop that runs."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Let all listeners go."""
        self.closed = True
        self._changed.set()

    def publish(self, kind: str, number: str, owner: str, data: Mapping[str, Any]) -> None:
        """Tell something; called in any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._publish, kind, number, owner, data)

    def _publish(self, kind: str, number: str, owner: str, data: Mapping[str, Any]) -> None:
        self._count += 1
        self._kept.append((self._count, News(f"{self._boot}-{self._count}", kind, number, owner, data)))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self, seconds: float) -> None:
        """Wait for any news, or so long."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    async def listen(
        self,
        wanted: Callable[[News], bool],
        current: Callable[[], list[News]],
        *,
        last: str | None,
    ) -> AsyncGenerator[News]:
        """News as they come.

        Args:
            wanted: which of them.
            current: how things are: told first, and again to who has missed some.
            last: mark of the last that the listener has heard; None for none.
        """
        heard = self._place(last)
        while not self.closed:
            changed = self._changed  # before looking, so that nothing is missed
            if heard is None:
                heard = self._count
                for each in current():
                    yield News(f"{self._boot}-{heard}", each.kind, each.id, each.owner, each.data)
            fresh = [(number, news) for number, news in self._kept if number > heard]
            if fresh and fresh[0][0] > heard + 1:
                heard = None  # too much has happened
                continue
            for number, news in fresh:
                heard = number
                if wanted(news):
                    yield news
            try:
                await asyncio.wait_for(changed.wait(), PING)
            except TimeoutError:
                yield News("", "ping", "", "", {})

    def _place(self, last: str | None) -> int | None:
        boot, _, number = (last or "").partition("-")
        if boot != self._boot or not number.isdecimal() or len(number) > 15:
            return None
        place = int(number)
        oldest = self._kept[0][0] if self._kept else self._count + 1
        return place if oldest - 1 <= place <= self._count else None
