"""How far `camixersr upscale` is, on stderr, with the remaining time."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from camixersr.cli.talk import is_quiet

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Bars", "steps"]


EVERY = 30.0
"""Seconds between two lines in a log file."""


class Bars:
    """Bars for the picture under way and for all of them; where stderr is no terminal, a line now and then.

    A log file, or a notebook, cannot renew a line: it gets one every `EVERY` seconds, none for short jobs.

    Args:
        pictures: how many there are; one alone needs no second bar.
        clock: gives seconds.

    Attributes:
        left: the time left for the picture under way, in words.
        all_left: for all of them.
    """

    def __init__(self, pictures: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        console = Console(stderr=True)
        live = console.is_terminal and not console.is_jupyter
        self._lines, self._told, self._name = not live and not is_quiet(), clock(), ""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not live or is_quiet(),
            # rich would send what is printed to the console, which is stderr; only a terminal wants that
            redirect_stdout=sys.stdout.isatty(),
        )
        self._total = self._add("all pictures", pictures) if pictures > 1 else None
        self._task = self._add("", None)
        self._measured: TaskID | None = None
        self._pictures, self._done, self._share, self._last = pictures, 0, 0.0, 0.0
        self.left = self.all_left = ""
        self._clock, self._all_began, self._began = clock, clock(), clock()

    def _add(self, words: str, total: float | None) -> "TaskID":
        return self._progress.add_task(words, total=total, left="")

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()  # also after an error: the terminal wants its cursor back

    def __call__(self, done: int, total: int) -> None:
        """Move the picture's bar."""
        if self._measured is not None:
            self._progress.remove_task(self._measured)
            self._measured = None
        share = done / total if total else 0.0
        if share < self._last:  # what was computed is written now
            self._began = self._clock()
        self._last = share
        self.left = remaining(self._clock() - self._began, share)
        self._progress.update(self._task, completed=done, total=total, left=self.left)
        self._share = max(self._share, share)  # once it is computed, a large picture is written
        self._show_all()
        if self._lines and self._clock() - self._told >= EVERY:
            self._told = self._clock()
            words = [f"{self._name}: {100 * share:.0f} %", *([self.left] if self.left else [])]
            if self._total is not None:
                words.append(f"{self._done} of {self._pictures} pictures done")
            print(f"camixersr: {', '.join(words)}", file=sys.stderr, flush=True)

    def _show_all(self) -> None:
        if self._total is None:
            return
        done, total = self._done + self._share, self._pictures
        self.all_left = remaining(self._clock() - self._all_began, done / total if total else 0.0)
        self._progress.update(self._total, completed=done, total=total, left=self.all_left)

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bars."""
        self._progress.console.print(f"camixersr: {line}", highlight=False, markup=False, soft_wrap=True)

    def measuring(self, model: str, done: float, total: float) -> None:
        """Show how long backends have been measured, of how long at most, until a picture goes on."""
        if self._measured is None:
            self._measured = self._add(f"backends for {model}", total)
        self._progress.update(self._measured, completed=done)

    def begin(self, name: str) -> None:
        """Show another picture."""
        self._name = name
        self._progress.reset(self._task, description=name, total=None, left="")
        self._began, self._share, self._last = self._clock(), 0.0, 0.0

    def rename(self, name: str) -> None:
        """Say more of the picture, or film, that is shown."""
        self._name = name
        self._progress.update(self._task, description=name)

    def finished(self, made: bool) -> None:
        """Count one more picture; one that was there already, or failed, tells nothing of the others."""
        if made:
            self._done += 1
            self._share = 0.0  # the next may have begun: it is behind in the bar, for a moment
        else:
            self._pictures -= 1
        self._show_all()


def remaining(elapsed: float, share: float) -> str:
    """The time left, if all goes on as it went on average: this settles, where recent speed leaps about.

    >>> remaining(60.0, 0.25), remaining(4000.0, 0.5), remaining(0.2, 0.001)
    ('0:03:00 left', '1:06:40 left', '')

    Args:
        elapsed: seconds so far.
        share: of the work that is done, in [0, 1].
    """
    if elapsed < 1.0 or share <= 0.0:
        return ""
    seconds = round(elapsed * (1.0 - share) / share)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


@contextmanager
def steps() -> Generator[Callable[[str, int, int], None]]:
    """A bar of a few long steps, which says what is being done; silent when quiet, or without a terminal.

    Yields:
        Told what is done now, how many steps are done, and how many there are.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal or console.is_jupyter or is_quiet(),
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
