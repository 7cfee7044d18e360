"""`camixersr upscale`: pictures in, enlarged pictures out."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from camixersr.cli.produce import Asked, produce

__all__ = ["upscale"]


def upscale(
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    scale: Annotated[float | None, Parameter(name=["--scale", "-s"])] = None,
    width: int | None = None,
    height: int | None = None,
    fit: str | None = None,
    megapixels: float | None = None,
    model: str | None = None,
    projection: Literal["auto", "flat", "erp"] = "auto",
    alpha: Literal["model", "bicubic"] = "model",
    name: str = "{stem}_{size}",
    asked: Asked | None = None,
) -> int:
    """Enlarge pictures.

    Parameters
    ----------
    inputs
        Pictures (PNG, JPEG, WebP, TIFF, AVIF, GIF, BMP, PPM; HEIC and camera RAW with the extras),
        folders with all below them, patterns such as 'photos/**/*.jpg', or - for standard input.
    output
        File to write, folder/ or - for standard output. By default NAME_x4 beside each input, and a
        folder FOLDER_x4 beside a folder, whose tree is mirrored.
    scale
        How many times as high and wide, for example 4 or 1.5, as far as the models go. Default: 4, or
        what the given model does.
    width
        Columns of the result; rows follow, unless --height is given too.
    height
        Rows of the result; columns follow.
    fit
        Frame that the result just fits into, for example 3840x2160.
    megapixels
        Size of the result, in millions of pixels.
    model
        A name from `camixersr models list`, or a file of weights. Default: an embedded one.
    projection
        erp: the pictures are equirectangular 360-degree panoramas, and are enlarged without a seam.
        auto: those whose metadata (GPano) says so. flat: none is.
    alpha
        What enlarges transparency: the model, or bicubic interpolation.
    name
        Names of results, from {stem}, {name} (with suffix) and {size} (x4, w1920 ...).
    """
    from camixersr.image.size import Size

    size = Size(scale, width, height, Size.frame(fit) if fit is not None else None, megapixels)
    return produce(
        inputs,
        asked or Asked(),
        output=output,
        model=model,
        size=size,
        restoring=False,
        name=name,
        projection=projection,
        alpha=alpha,
    )
