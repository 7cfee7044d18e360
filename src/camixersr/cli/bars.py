"""How far `camixersr upscale` is, on stderr, with the remaining time."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Bars", "steps"]


class Bars:
    """Bars for the picture under way and for all of them; silent where stderr is no terminal.

    Args:
        pictures: how many there are; one alone needs no second bar.
    """

    def __init__(self, pictures: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # rich would send what is printed to the console, which is stderr; only a terminal wants that
            redirect_stdout=sys.stdout.isatty(),
        )
        self._total = self._progress.add_task("all pictures", total=pictures) if pictures > 1 else None
        self._task = self._progress.add_task("", total=None)
        self._measured: TaskID | None = None

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
        self._progress.update(self._task, completed=done, total=total)

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bars."""
        self._progress.console.print(f"camixersr: {line}", highlight=False, markup=False, soft_wrap=True)

    def measuring(self, model: str, done: float, total: float) -> None:
        """Show how long backends have been measured, of how long at most, until a picture goes on."""
        if self._measured is None:
            self._measured = self._progress.add_task(f"backends for {model}", total=total)
        self._progress.update(self._measured, completed=done)

    def begin(self, name: str) -> None:
        """Show another picture."""
        self._progress.reset(self._task, description=name, total=None)

    def finished(self) -> None:
        """Count one more picture."""
        if self._total is not None:
            self._progress.advance(self._total)


@contextmanager
def steps() -> Generator[Callable[[str, int, int], None]]:
    """A bar of a few long steps, which says what is being done; silent where stderr is no terminal.

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
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
