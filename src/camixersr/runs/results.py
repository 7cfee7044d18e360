"""What a run tells while it goes on, and what came of each picture."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

from camixersr.comparison import Routes, glance
from camixersr.errors import CamixerError

__all__ = ["Advanced", "Began", "Event", "Finished", "Listener", "Measuring", "Remark", "Result"]


@dataclass(frozen=True)
class Result:
    """What came of a picture.

    Attributes:
        source: the input.
        target: the result's file; `Path("-")` for standard output.
        status: "done"; "skipped", since it was there already; or "failed".
        facts: of a result, as `camixersr upscale --json` writes them; empty where nothing is known of
            what was there already.
        notes: what a person wants to know, in words: what the format could not hold, for example.
        error: why it failed; None if it did not.
        cause: what was raised; None likewise.
        routes: where attention went; None where the network was not needed, or the result was there.
    """

    source: Path
    target: Path
    status: Literal["done", "skipped", "failed"]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()
    error: CamixerError | None = None
    cause: Exception | None = None
    routes: Routes | None = None

    def _repr_html_(self) -> str:
        """For notebooks: what came of it, a detail before and after, and the route map."""
        words = f"{self.source} \u2192 {self.target}: {self.status}"
        words += "".join(f"; {each}" for each in (self.error, *self.notes) if each)
        shown = ""
        if self.status == "done" and {"low_size", "high_size"} <= self.facts.keys():
            with suppress(CamixerError, OSError):  # files come and go
                low, high = (tuple(reversed(self.facts[name])) for name in ("low_size", "high_size"))
                shown = glance(self.source, self.target, low=low, high=high, routes=self.routes)
        return f"<div>{escape(words)}</div>{shown}"


@dataclass(frozen=True)
class Began:
    """A picture is being computed; with several devices also others are.

    Attributes:
        source: the picture.
        streamed: it goes from disk to disk, so that what is computed of it can be kept.
    """

    source: Path
    streamed: bool = False


@dataclass(frozen=True)
class Advanced:
    """So much of a picture is done, of so much in all; told once or more in each tile.

    Writing a large picture is told in the same way, from its beginning with a total of its own.
    """

    source: Path
    done: int
    total: int


@dataclass(frozen=True)
class Measuring:
    """Backends are measured for a model: so many seconds, of so many at most."""

    model: str
    done: float
    total: float


@dataclass(frozen=True)
class Remark:
    """A line for a person, of a picture under way (what it needs) or of the run."""

    text: str
    source: Path | None = None


@dataclass(frozen=True)
class Finished:
    """A picture is done, was there already, or failed."""

    result: Result


Event = Began | Advanced | Measuring | Remark | Finished

Listener = Callable[[Event], None]
"""Told what happens, as it happens, in whatever thread it happens; of two events at once one waits."""
