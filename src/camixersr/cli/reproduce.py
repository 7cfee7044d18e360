"""`camixersr reproduce`: a table of the paper, published beside measured."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from camixersr.cli.talk import say
from camixersr.errors import UsageError

__all__ = ["reproduce"]

MISSING = 4
"""Exit code where all that is here is right, and something is not here."""


def reproduce(
    table: Literal["lightweight", "large", "omni", "gamma", "classsr", "ablation"],
    /,
    *,
    data: Path | None = None,
    model: Annotated[list[str] | None, Parameter(negative=(), consume_multiple=True)] = None,
    sets: Annotated[list[str] | None, Parameter(name="--set", negative=(), consume_multiple=True)] = None,
    attention_ratio: Annotated[list[float] | None, Parameter(negative=(), consume_multiple=True)] = None,
    findings: Path | None = None,
    published: Path | None = None,
    save: Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=True)] = None,
    tile: Annotated[str, Parameter(show_default=False)] = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    backend: Literal["auto", "fastest", "native", "torch", "compile", "onnxruntime", "openvino"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
) -> int:
    """Measure a table of the paper on your data, and show the published numbers beside it.

    If a set is missing, a line names it and the exit code is 4. If a picture does not fit (half of a pair,
    another size, 16 bits), a line names it and the exit code is 3. A set with such a picture gets no
    published numbers beside it.

    Parameters
    ----------
    table
        lightweight: Set5, Set14, BSD100, Urban100 and Manga109 at x2, x3 and x4, in luma.
        large: F2K, Test2K, Test4K and Test8K in RGB, whole and in tiles of 64 with an overlap of 4.
        omni: ODI-SR and SUN360 in RGB, plain and weighted. gamma: the sweep of the attention ratio.
        classsr: as large, for a ClassSR (--model). ablation: the findings of `camixersr ablate`
        (--findings).
    data
        Folder with the sets, in any usual layout (docs/data.md). `camixersr data check` checks it.
    model
        Names or files of models. Default: the paper's models that you fetched, and ours.
    sets
        Other sets: their names, or folders in --data.
    attention_ratio
        One or several ratios, each in [0, 1]. Default: 1 and 0.5. For gamma: 0 to 1. For omni and
        classsr: 0.5.
    findings
        The file findings.json that `camixersr ablate` wrote.
    published
        File of published numbers to use instead of src/camixersr/published.toml, in the same form.
    save
        Also write the table to one or several files. The name gives the format: .json, .csv, .md or .tex.
    tile
        auto, 0 for whole pictures, or the side of a tile in low pixels, as for `camixersr upscale`.
    device
        Where to compute.
    backend
        What computes, as for `camixersr upscale`.
    precision
        Number format to compute in. auto: fp32.
    """
    if any(not 0.0 <= each <= 1.0 for each in attention_ratio or ()):
        raise UsageError(f"--attention-ratio must lie in [0, 1], got {attention_ratio}")
    if tile != "auto" and not tile.isdecimal():
        raise UsageError(f"--tile must be auto or a whole number, got {tile!r}")
    if (table == "ablation") != (findings is not None):
        raise UsageError(
            "the table ablation needs --findings FILE of `camixersr ablate`; no other table takes it"
        )
    if (table != "ablation") != (data is not None):
        raise UsageError(
            "--data FOLDER is needed for every table except ablation, which takes --findings instead"
        )
    from camixersr.image.files import require_writable
    from camixersr.published import load
    from camixersr.reproduce import ablation, measure, write

    for path in save or ():
        write.require_format(path)
        require_writable(path)
    stated = load(published) if published is not None else load()
    if findings is not None:
        made = ablation.from_findings(findings, stated=stated)
    else:
        assert data is not None
        made = measure.reproduce(
            table,
            data,
            models=model or (),
            sets=sets or (),
            ratios=attention_ratio or (),
            stated=stated,
            computing={
                "tile": tile if tile == "auto" else int(tile),
                "device": device,
                "backend": backend,
                "precision": precision,
            },
            say=say,
        )
    _print(*write.grid(made))
    if made.spent:
        print()
        _print(*write.spent_grid(made))
    print(write.line_of_facts(made.facts))
    for line in (*(f"missing: {each}" for each in made.missing), *made.problems):
        print(f"camixersr: {' '.join(line.split())}", file=sys.stderr)
    for path in save or ():
        write.write(made, path)
    return 3 if made.problems else MISSING if made.missing else 0


def _print(heads: list[str], lines: list[list[str]]) -> None:
    from rich.table import Table

    from camixersr.cli.tables import print_table

    shown = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        if any(line[number] for line in lines):
            shown.add_column(head, justify="left" if head in ("set", "model", "note") else "right")
    for line in lines:
        shown.add_row(*(cell for number, cell in enumerate(line) if any(each[number] for each in lines)))
    print_table(shown)
