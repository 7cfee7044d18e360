"""Print a table: fitted to a terminal, and whole into a pipe or file."""

from rich.console import Console
from rich.table import Table

__all__ = ["print_table"]


def print_table(table: Table) -> None:
    """Print on stdout; a pipe has no width to fit into, and must not lose or wrap text."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    console.print(table)
