"""`camixersr restore`: pictures in, the same pictures out without what compression or noise did to them."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from camixersr.cli.produce import Asked, produce

__all__ = ["restore"]


def restore(
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    model: str = "s-jpeg",
    name: str = "{stem}_restored",
    asked: Asked | None = None,
) -> int:
    """Restore pictures: undo what JPEG compression (or noise, with a model for it) did to them.

    Size, depth, transparency and metadata stay as they are.

    Parameters
    ----------
    inputs
        Pictures of any format that `camixersr upscale` reads, folders with all below them, patterns
        such as 'photos/**/*.jpg', or - for standard input.
    output
        File to write, folder/ or - for standard output. By default NAME_restored beside each input
        or folder, in its format; a JPEG is written at quality 95, and
        --format png keeps every bit.
    model
        A model that restores: a name from `camixersr models list`, or a file of weights.
    name
        Names of results, from {stem} and {name} (with suffix).
    """
    from camixersr.image.size import Size

    return produce(
        inputs,
        asked or Asked(),
        output=output,
        model=model,
        size=Size(),
        restoring=True,
        name=name,
        projection="flat",
        alpha="bicubic",  # at scale 1: as it is
    )
