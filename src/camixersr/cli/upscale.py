"""`camixersr upscale`: pictures in, enlarged pictures out."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from camixersr import __version__
from camixersr.cli.huge import (
    Budget,
    enlarge_huge,
    facts_of,
    parse_size,
    wants_streaming,
    write_huge_route_map,
)
from camixersr.errors import CamixerError, InputError, OutputError, UsageError

if TYPE_CHECKING:
    from camixersr.inference.cost import Cost
    from camixersr.inference.upscaler import Enlarged, Upscaler

__all__ = ["upscale"]


@dataclass(frozen=True)
class _Job:
    """One picture and where its results go."""

    source: Path
    target: Path
    route_map: Path | None


def upscale(
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    scale: int | None = None,
    model: str | None = None,
    attention_ratio: float = 0.5,
    max_share: float = 1.0,
    seconds: float | None = None,
    memory: str | None = None,
    tile: str = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    route_map: Path | None = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    spill: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Enlarge pictures.

    Parameters
    ----------
    inputs
        Pictures: PNG, JPEG, WebP, TIFF, AVIF, GIF.
    output
        File to write, or a folder for several inputs. By default NAME_x4 beside each input.
    scale
        How many times as high and wide: 2, 3 or 4, as far as there are models. Default: 4, or what
        the given model does.
    model
        A name from `camixersr models list`, or a file of weights. Default: the embedded one.
    attention_ratio
        Share of windows that get attention, an average over photographs: 0 (fastest) to 1.
    max_share
        Never attend more than this share of each picture's windows.
    seconds
        Choose the attention ratio so that each picture takes no longer than this.
    memory
        Choose tiles so that no more memory is needed in all, such as 2GB.
    tile
        Side of a tile in pixels of the input, a multiple of 16; 0 for none; or auto.
    device
        Where to compute.
    precision
        What to compute in; auto is fp32.
    route_map
        Also write a picture of where attention went; a folder for several inputs.
    json_
        Also write the facts of the summary as JSON; a list for several inputs.
    spill
        Folder for the intermediate files of large pictures, instead of the output's.
    resume
        Continue large pictures that were interrupted, and keep what is there if interrupted again.
    overwrite
        Replace files that exist.
    """
    budget = Budget(
        attention_ratio=attention_ratio,
        max_share=max_share,
        seconds=seconds,
        memory=None if memory is None else parse_size(memory, "--memory"),
        spill=spill,
        resume=resume,
    )
    if tile != "auto" and not tile.isdecimal():
        raise UsageError(f"--tile must be auto, 0 or a multiple of 16, got {tile!r}")
    from camixersr import load
    from camixersr.catalogue import default_model, find
    from camixersr.image.files import replacing, require_writable
    from camixersr.inference.upscaler import Upscaler

    if model is None:
        upscaler = load(default_model(scale or 4), device=device, precision=precision, tile=_tile(tile))
    else:
        upscaler = Upscaler(find(model), device=device, precision=precision, tile=_tile(tile))
        if scale is not None and scale != upscaler.scale:
            raise UsageError(
                f"model {upscaler.model.name} enlarges x{upscaler.scale} and lacks x{scale}; "
                "choose another --model or --scale"
            )
    jobs = _plan(inputs, output, route_map, upscaler.scale)
    if json_ is not None:
        _refuse_existing(json_, overwrite)
        require_writable(json_)

    facts: list[dict[str, Any]] = []
    failures: list[CamixerError] = []
    for job in jobs:
        try:
            facts.append(_one(upscaler, job, budget, overwrite))
        except (InputError, OutputError) as error:
            if len(jobs) == 1:
                raise
            failures.append(error)
            print(f"camixersr: {' '.join(str(error).split())}", file=sys.stderr)
    if json_ is not None:
        with replacing(json_) as partial:
            partial.write_text(json.dumps(facts[0] if len(jobs) == 1 else facts, indent=2) + "\n")
    if failures:
        print(f"camixersr: {len(failures)} of {len(jobs)} pictures failed", file=sys.stderr)
    return 3 if failures else 0


def _tile(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else int(text)


def _plan(inputs: list[Path], output: Path | None, route_map: Path | None, scale: int) -> list[_Job]:
    """Decide every target before anything is computed."""
    from camixersr.image.codec import WRITABLE
    from camixersr.image.files import make_folder

    many = len(inputs) > 1
    if many:
        for name, folder in (("-o", output), ("--route-map", route_map)):
            if folder is not None and not folder.is_dir() and folder.suffix:
                raise UsageError(f"{name} must be a folder for several inputs, got {folder}")
            if folder is not None:
                make_folder(folder)
    jobs: list[_Job] = []
    for source in inputs:
        suffix = source.suffix.lower() if source.suffix.lower() in WRITABLE else ".png"
        target = source.with_name(f"{source.stem}_x{scale}{suffix}")
        if output is not None:
            target = output / target.name if many or output.is_dir() else output
        routes = route_map
        if routes is not None and (many or routes.is_dir()):
            routes = routes / f"{source.stem}_x{scale}_routes.png"
        jobs.append(_Job(source, target, routes))
    seen: dict[Path, Path] = {}
    for job in jobs:
        for path in filter(None, (job.target, job.route_map)):
            if path in seen:
                raise UsageError(
                    f"{job.source} and {seen[path]} would both be written to {path}; rename one"
                )
            seen[path] = job.source
    return jobs


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        raise OutputError(f"{path}: exists already; add --overwrite to replace it")


def _one(upscaler: "Upscaler", job: _Job, budget: Budget, overwrite: bool) -> dict[str, Any]:
    """Enlarge one picture and write all that was asked for."""
    import time

    from camixersr.image.codec import check_writable, read, write

    began = time.perf_counter()
    s = upscaler.scale
    if job.source.exists() and job.target.exists() and job.source.samefile(job.target):
        raise OutputError(f"{job.target}: is the input itself; name another file with -o")
    targets = [path for path in (job.target, job.route_map) if path is not None]
    for path in targets:
        _refuse_existing(path, overwrite)
    if wants_streaming(upscaler, job.source, budget):
        return _one_huge(upscaler, job, budget)
    picture = read(job.source)
    if picture.pages > 1:
        print(f"camixersr: {job.source}: only the first of {picture.pages} pages is read", file=sys.stderr)
    for path in targets:
        check_writable(path, height=s * picture.height, width=s * picture.width)

    with _Bar(job.source.name) as bar:
        enlarged, result = upscaler.enlarge(
            picture, attention_ratio=budget.attention_ratio, max_share=budget.max_share, progress=bar
        )
    for note in write(job.target, result):
        print(f"camixersr: {job.target}: {note}", file=sys.stderr)
    if job.route_map is not None:
        _write_route_map(job.route_map, picture.pixels, enlarged, upscaler.model.config.window)
    low_size, high_size = (picture.width, picture.height), (result.width, result.height)
    facts = _facts(upscaler, job, enlarged, low_size, high_size, budget.attention_ratio, began)
    print(_summary(facts))
    return facts


def _one_huge(upscaler: "Upscaler", job: _Job, budget: Budget) -> dict[str, Any]:
    """The same for a picture that is streamed."""
    import time

    from camixersr.image.codec import check_writable

    began = time.perf_counter()
    if job.route_map is not None:
        check_writable(job.route_map, height=1, width=1)
    with _Bar(job.source.name) as bar:
        streamed = enlarge_huge(upscaler, job.source, job.target, budget, bar.say, bar)
    low, high = streamed.look.layout, streamed.layout
    if streamed.look.pages > 1:
        pages = streamed.look.pages
        print(f"camixersr: {job.source}: only the first of {pages} pages is read", file=sys.stderr)
    for note in streamed.notes:
        print(f"camixersr: {job.target}: {note}", file=sys.stderr)
    if job.route_map is not None:
        write_huge_route_map(job.route_map, job.source, streamed, upscaler.model.config.window)
    sizes = (low.width, low.height), (high.width, high.height)
    facts = _facts(upscaler, job, streamed.cost, *sizes, streamed.attention_ratio, began)
    facts |= facts_of(streamed)
    print(_summary(facts))
    return facts


def _facts(
    upscaler: "Upscaler",
    job: _Job,
    cost: "Cost",
    low_size: tuple[int, int],
    high_size: tuple[int, int],
    ratio: float,
    began: float,
) -> dict[str, Any]:
    import time

    return {
        "input": str(job.source),
        "output": str(job.target),
        "scale": upscaler.scale,
        "model": upscaler.model.name,
        "low_size": list(low_size),
        "high_size": list(high_size),
        "seconds": round(time.perf_counter() - began, 3),
        "peak_memory_bytes": cost.peak_memory_bytes,
        "attention_ratio": ratio,
        "attention_share": round(cost.attention_share, 4),
        "macs": cost.macs,
        "tiles": cost.tiles,
        "device": str(upscaler.device),
        "precision": cost.precision,
        "version": __version__,
    }


def _summary(facts: dict[str, Any]) -> str:
    memory = facts["peak_memory_bytes"]
    return ", ".join(
        (
            f"{facts['output']}: {' x '.join(map(str, facts['low_size']))} -> "
            f"{' x '.join(map(str, facts['high_size']))}",
            f"{facts['seconds']:.1f} s",
            f"peak {memory / 2**20:.0f} MiB" if memory else "peak memory unknown",
            f"{100 * facts['attention_share']:.0f} % of windows attended",
        )
    )


def _write_route_map(path: Path, pixels: Any, enlarged: "Enlarged", window: int) -> None:
    import numpy as np

    from camixersr.image.codec import Picture, write
    from camixersr.routemap import render

    image = pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    canvas = render(image, enlarged.shares, side=window, attention_share=enlarged.attention_share)
    write(path, Picture(np.asarray(canvas)))


class _Bar:
    """A progress bar on stderr, with the remaining time; silent where stderr is no terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._name = name
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()  # also after an error: the terminal wants its cursor back

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(
            f"camixersr: {self._name}: {line}", highlight=False, markup=False, soft_wrap=True
        )
