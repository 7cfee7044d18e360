"""`camixersr models`: which models there are, what they are, and how to get more."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from camixersr.errors import UsageError

__all__ = ["app"]

app = App(name="models", help="List, show, fetch and convert models.")


@app.command(name="list")
def list_models() -> None:
    """List the embedded models, and those that `camixersr models pull` fetches."""
    from rich.table import Table

    from camixersr.catalogue import OFFICIAL, cached_path, embedded
    from camixersr.cli.tables import print_table

    table = Table("name", "where", "what", box=None, pad_edge=False)
    for name, file in embedded().items():
        table.add_row(name, "embedded", f"ours, {file.stat().st_size / 1e6:.1f} MB")
    for name, official in OFFICIAL.items():
        there = "fetched" if cached_path(name).is_file() else "models pull"
        table.add_row(name, there, official.about)
    print_table(table)


@app.command
def show(model: str, /, *, json_: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Show what a model is, where it comes from and what it scores.

    camixersr knows the authors' files by their hash, whatever their names.

    Parameters
    ----------
    model
        A name from `camixersr models list`, or a file of weights.
    json_
        Print JSON instead of text.
    """
    from dataclasses import asdict

    from camixersr.catalogue import OFFICIAL, find
    from camixersr.image.files import printable

    loaded = find(model)
    official = loaded.provenance.get("official", "")
    facts = {
        "name": loaded.name,
        **({"official": f"{official}: {OFFICIAL[official].about}"} if official in OFFICIAL else {}),
        "architecture": loaded.architecture,
        "config": asdict(loaded.config),
        "parameters": loaded.parameters,
        **({"restores": loaded.restores.about} if loaded.restores else {}),
        **({"classes": {"attention_ratios": list(loaded.classes.ratios)}} if loaded.classes else {}),
        "attention_ratio": loaded.attention_ratio,
        "routing": "calibrated thresholds" if loaded.calibration else "top share of every image",
        "provenance": dict(loaded.provenance),
        "scores": dict(loaded.scores),
        "sha256": loaded.sha256,
    }
    if json_:
        print(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, item in value.items():
                print(f"  {printable(str(name))}: {printable(str(item))}")
        else:
            print(f"{key}: {value}")


@app.command
def pull(model: str, /) -> None:
    """Fetch an official checkpoint from the authors' repository, verify it and keep it.

    Parameters
    ----------
    model
        Name of an official model. `camixersr models list` shows them.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from camixersr import catalogue

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(model, total=None)
        path = catalogue.pull(
            model,
            progress=lambda done, total: bar.update(task, completed=done, total=total or None),
        )
    print(f"{model}: {path}")


@app.command
def convert(
    source: Path, target: Path, /, *, overwrite: Annotated[bool, Parameter(negative=())] = False
) -> None:
    """Convert a checkpoint of the authors (.pth) to our file of weights (.safetensors).

    Parameters
    ----------
    source
        The checkpoint.
    target
        The file to write.
    overwrite
        Replace the target if it exists.
    """
    from dataclasses import replace

    from camixersr.errors import OutputError
    from camixersr.weights import load_file, save

    if target.suffix != ".safetensors":
        raise UsageError(f"expected a target ending in .safetensors, got {target}")
    if target.is_file() and not overwrite:
        raise OutputError(f"{target}: exists already; add --overwrite to replace it")
    model = load_file(source)
    save(target, replace(model, name=target.stem))
    config = model.config
    print(
        f"{target}: {model.parameters} parameters, C = {config.channels}, x{config.scale}",
        file=sys.stdout,
    )
