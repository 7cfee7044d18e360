"""`camixersr data`: benchmark sets on your disk."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from camixersr.cli.talk import say

__all__ = ["app"]

app = App(name="data", help="Check the benchmark sets that you have.")

MISSING = 4
"""Exit code where all that is here is right, and something is not here."""


@app.command
def check(
    data: Path,
    /,
    *,
    sets: Annotated[list[str] | None, Parameter(name="--set", negative=(), consume_multiple=True)] = None,
) -> int:
    """Check which sets of the paper's tables a folder has, and whether they are right.

    This decodes every picture. It checks the number of pictures, the sizes of pairs and the depths. Of
    Set5, Set14 and BSD100 (x4) it also checks the pixels. The exit code is 3 if something is wrong, else 4
    if something is missing. docs/data.md says where sets come from, and how their folders may look.

    Parameters
    ----------
    data
        The folder.
    sets
        Names of sets, or folders in the data folder. Default: all sets of the paper's tables.
    """
    from rich.table import Table

    from camixersr.cli.tables import print_table
    from camixersr.reproduce.check import check_folder

    found = check_folder(data, tuple(sets or ()), progress=say)
    table = Table("set", "scale", "state", "where", "low pictures", "pixels", box=None, pad_edge=False)
    problems: list[str] = []
    for each in found:
        if each.layout is None:
            table.add_row(each.name, f"x{each.scale}", "missing", "", "", "")
            continue
        problems += each.problems
        low = each.layout.low
        count = f"{len(each.problems)} problem{'s' * (len(each.problems) > 1)}"
        table.add_row(
            each.name,
            f"x{each.scale}",
            f"{each.pictures} pictures, {count if each.problems else 'right'}",
            str(each.layout.high),
            "made when needed" if low is None else str(low),
            each.pixels,
        )
    print_table(table)
    for line in dict.fromkeys(problems):
        print(f"camixersr: {' '.join(line.split())}", file=sys.stderr)
    return 3 if problems else MISSING if any(each.layout is None for each in found) else 0
