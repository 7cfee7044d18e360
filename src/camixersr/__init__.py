"""camixersr: content-aware image super-resolution.

>>> import camixersr
>>> upscaler = camixersr.load("s-x4")                    # doctest: +SKIP
>>> high = upscaler.upscale(low, attention_ratio=0.5)    # doctest: +SKIP

`low` may be a numpy array, a PIL image or a torch tensor, and the result is of the same kind; or a path.
Importing this package is cheap: torch is loaded by the first call that needs it.
"""

import logging
from typing import TYPE_CHECKING, Any, Literal, overload

from camixersr.errors import CamixerError
from camixersr.lazily import lazily

if TYPE_CHECKING:
    from camixersr.enlarge.kinds import File, Held
    from camixersr.enlarge.options import Options, Restore
    from camixersr.enlarge.upscaler import Upscaler
    from camixersr.image.formats import WriteOptions
    from camixersr.image.panorama import Projection
    from camixersr.image.picture import Picture
    from camixersr.image.size import Size
    from camixersr.runs.files import Run, restore_files, upscale_files
    from camixersr.runs.results import Result

__all__ = [
    "CamixerError",
    "Options",
    "Picture",
    "Result",
    "Run",
    "Size",
    "Upscaler",
    "WriteOptions",
    "__version__",
    "load",
    "restore",
    "restore_files",
    "upscale",
    "upscale_files",
]

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a program that wants the log says so


def load(
    model: str = "s-x4",
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    tile: int | Literal["auto"] = "auto",
) -> "Upscaler":
    """Load a model, ready to enlarge pictures.

    Args:
        model: a name that `camixersr models list` shows, or a file of weights.
        backend: "auto": native where it computes the model, else torch. Or "native", "torch", "compile",
            "onnxruntime", "openvino", or "fastest", which is measured once; see `camixersr.backends`.
        device: "auto", "cpu", "cuda", "cuda:1", "mps"; "all", or several with commas between.
        precision: "auto" (fp32), "fp32", "bf16" or "fp16".
        tile: low pixels a tile, "auto", or 0 for the whole picture at once.

    Returns:
        The upscaler.

    Raises:
        CamixerError: the model is unknown or damaged, or an option does not fit; see
            `camixersr.errors` for the kinds.
    """
    from camixersr.catalogue import find
    from camixersr.enlarge.upscaler import Upscaler

    return Upscaler(find(model), backend=backend, device=device, precision=precision, tile=tile)


@overload
def upscale(
    image: "Held",
    *,
    scale: float | None = None,
    attention_ratio: float | None = None,
    model: str = "",
    device: str = "auto",
    projection: "Projection" = "auto",
    restore: "Restore" = "auto",
    white: float | None = None,
) -> "Held": ...


@overload
def upscale(
    image: "File",
    *,
    scale: float | None = None,
    attention_ratio: float | None = None,
    model: str = "",
    device: str = "auto",
    projection: "Projection" = "auto",
    restore: "Restore" = "auto",
) -> "Picture": ...


def upscale(
    image: Any,
    *,
    scale: float | None = None,
    attention_ratio: float | None = None,
    model: str = "",
    device: str = "auto",
    projection: "Projection" = "auto",
    restore: "Restore" = "auto",
    white: float | None = None,
) -> Any:
    """Enlarge one picture; to enlarge many, `load` once.

    Args:
        image: an array, a PIL image, a tensor, a path or bytes, as for `Upscaler.upscale`.
        scale: times as high and wide, 4 or the model's by default: whatever a model reaches, such as 2.5.
        attention_ratio: gamma in [0, 1]: 0 is fastest, 1 attends everything; by default what the model
            recommends.
        model: name or file; by default the smallest embedded one that suffices.
        device: "auto", "cpu", "cuda" or "mps".
        projection: whether it is a 360-degree panorama, as for `Upscaler.upscale`.
        restore: undo JPEG compression or remove noise first, as for `Upscaler.upscale`.
        white: the value of white in floating point, as for `Upscaler.upscale`.

    Returns:
        The same kind of picture; a `Picture` of a path or bytes.

    Raises:
        CamixerError: see `camixersr.errors` for the kinds.
    """
    from pathlib import Path

    from camixersr.enlarge.kinds import loaded
    from camixersr.enlarge.options import Options
    from camixersr.enlarge.upscaler import model_for
    from camixersr.errors import UsageError
    from camixersr.image.degradation import quality_of
    from camixersr.image.size import Size

    size = Size(scale=scale)
    if Options(restore=restore).restores(
        quality_of(image) if isinstance(image, str | Path | bytes) else None
    ):
        restore = "on"  # of the picture, once it is loaded
    image = loaded(image)
    upscaler = load(model or model_for(image, size, projection, white=white), device=device)
    if upscaler.model.restores:
        raise UsageError(
            f"model {upscaler.model.name} restores and does not enlarge; use camixersr.restore"
        )
    return upscaler.upscale(
        image,
        size=size if scale is not None or model else Size(scale=4),
        attention_ratio=attention_ratio,
        projection=projection,
        restore=restore,
        white=white,
    )


@overload
def restore(
    image: "Held",
    *,
    model: str = "s-jpeg",
    attention_ratio: float | None = None,
    device: str = "auto",
    white: float | None = None,
) -> "Held": ...


@overload
def restore(
    image: "File", *, model: str = "s-jpeg", attention_ratio: float | None = None, device: str = "auto"
) -> "Picture": ...


def restore(
    image: Any,
    *,
    model: str = "s-jpeg",
    attention_ratio: float | None = None,
    device: str = "auto",
    white: float | None = None,
) -> Any:
    """Undo what JPEG compression did to one picture, or remove noise with `model="s-noise"`.

    To restore many, `load` a model that restores once, and call its `upscale`: its scale is 1.

    Args:
        image: as for `upscale`. Blocks of a JPEG begin at the top left, so hand over the whole picture.
        model: name or file of a model that restores.
        attention_ratio: gamma in [0, 1]: 0 is fastest, 1 attends everything; by default what the model
            recommends.
        device: "auto", "cpu", "cuda" or "mps".
        white: the value of white in floating point, as for `upscale`.

    Returns:
        The same kind of picture, of the same size.

    Raises:
        CamixerError: see `camixersr.errors` for the kinds.
    """
    from camixersr.errors import UsageError

    restorer = load(model, device=device)
    if not restorer.model.restores:
        raise UsageError(f"model {restorer.model.name} enlarges x{restorer.scale}; use camixersr.upscale")
    return restorer.upscale(image, attention_ratio=attention_ratio, white=white)


__getattr__ = lazily(
    __name__,
    {
        "Options": "camixersr.enlarge.options",
        "Picture": "camixersr.image.picture",
        "Result": "camixersr.runs.results",
        "Run": "camixersr.runs.files",
        "Size": "camixersr.image.size",
        "Upscaler": "camixersr.enlarge.upscaler",
        "WriteOptions": "camixersr.image.formats",
        "restore_files": "camixersr.runs.files",
        "upscale_files": "camixersr.runs.files",
    },
)
