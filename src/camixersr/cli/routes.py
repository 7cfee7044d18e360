"""`camixersr routes`: does this model's routing follow content?"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from camixersr.errors import UsageError

if TYPE_CHECKING:
    from camixersr.audit import Audit

__all__ = ["routes"]


def routes(
    inputs: Annotated[list[Path], Parameter(name="IMAGE", negative=())],
    /,
    *,
    model: str = "s-x4",
    attention_ratio: float = 0.5,
    high: Path | None = None,
    reduce: Annotated[bool, Parameter(negative=())] = False,
    quality: int | None = None,
    sigma: float | None = None,
    gain: Annotated[bool, Parameter(negative=())] = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> int:
    """Audit where a model spends attention on some images.

    For each block this prints the share of windows that get attention, and how it varies between images.
    It prints the share of windows with a score above 1/2, and how far scores spread inside an image. It
    compares the scores with local detail and, with --gain, with the measured gain of attention.

    With originals it also prints PSNR with the windows that the model chooses. Beside it stand as many
    random windows, those with the lowest scores, the most detailed ones, none and all. The last line is
    the verdict.

    Parameters
    ----------
    inputs
        Low-resolution images, or originals with --reduce. More images give a better verdict.
    model
        A name from `camixersr models list`, or a file of weights.
    attention_ratio
        Share of windows that get attention, from 0 to 1, as for `camixersr upscale`.
    high
        Folder with the originals of the images, under the same names.
    reduce
        The images are originals. This command makes their low-resolution versions.
    quality
        The images are originals. This command compresses them at this quality, for a model that
        undoes JPEG.
    sigma
        The images are originals. This command adds noise of this standard deviation, in 8-bit steps, for a
        model that removes noise.
    gain
        Also measure the gain of attention against the originals, in a pass for each block and image.
    output
        Folder for maps of each image: one over all blocks, and one of the scores block by block.
    json_
        Also write everything as JSON.
    device
        Where to compute.
    """
    if not 0.0 <= attention_ratio <= 1.0:
        raise UsageError(f"--attention-ratio must lie in [0, 1], got {attention_ratio:g}")
    made = {"--reduce": reduce, "--quality": quality is not None, "--sigma": sigma is not None}
    given = [name for name, yes in made.items() if yes]
    if given and high is not None:
        raise UsageError(
            f"{given[0]} and --high exclude each other: with {given[0]} the images are originals"
        )
    if gain and not given and high is None:
        raise UsageError(
            "--gain needs the originals: give --high FOLDER, or --reduce, --quality or --sigma"
        )
    from camixersr.audit import audit_files
    from camixersr.catalogue import find
    from camixersr.cli.degraded import degradations
    from camixersr.data import BICUBIC, degrading
    from camixersr.image.files import make_folder, replacing, require_writable
    from camixersr.inference.computer import Computer

    computer = Computer(find(model), device=device)
    degraded = degradations(
        computer.model,
        quality=None if quality is None else [quality],
        sigma=None if sigma is None else [sigma],
    )
    way = degrading(degraded[0]) if degraded else BICUBIC
    if json_ is not None:
        require_writable(json_)
    if output is not None:
        make_folder(output)
    problems: list[str] = []

    def trouble(line: str) -> None:
        problems.append(line)
        print(f"camixersr: {' '.join(line.split())}", file=sys.stderr)

    result = audit_files(
        computer,
        inputs,
        attention_ratio=attention_ratio,
        reduction=way if given else None,
        high=high,
        gain=gain,
        output=output,
        trouble=trouble,
    )
    _print(result)
    if json_ is not None:
        facts = {
            "model": computer.model.name,
            "sha256": computer.model.sha256,
            "attention_ratio": attention_ratio,
            **({"degradation": way.name} if degraded else {}),
            "verdict": result.verdict,
            "pays": result.pays,
            "audit": asdict(result),
        }
        with replacing(json_) as partial:
            partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 3 if problems else 0


def _print(result: "Audit") -> None:
    from rich.table import Table

    from camixersr.cli.tables import print_table

    table = Table(box=None, pad_edge=False)
    for name in ("block", "attended", "+- images", "score > 1/2", "score spread", "~ detail", "~ gain", ""):
        table.add_column(name, justify="right")
    for number, block in enumerate(result.blocks):
        row: list[Any] = [
            number,
            f"{100 * block.share:.0f} %",
            f"{100 * block.share_spread:.0f} %",
            f"{100 * block.own:.0f} %",
            f"{block.score_spread:.3f}",
            f"{block.detail:+.2f}",
            "" if block.gain is None else f"{block.gain:+.2f}",
            "all or nothing" if block.all_or_nothing else "",
        ]
        table.add_row(*map(str, row))
    print_table(table)
    if result.worth is not None:
        print()
        worth = Table(box=None, pad_edge=False)
        for name in ("attended windows", "PSNR, dB", "above none"):
            worth.add_column(name, justify="left" if name == "attended windows" else "right")
        for name, value in asdict(result.worth).items():
            worth.add_row(name, f"{value:.3f}", f"{value - result.worth.nothing:+.3f}")
        print_table(worth)
    print(result.verdict)
