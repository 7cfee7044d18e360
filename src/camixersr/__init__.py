"""camixersr: content-aware image super-resolution.

>>> import camixersr
>>> upscaler = camixersr.load("s-x4")                    # doctest: +SKIP
>>> high = upscaler.upscale(low, attention_ratio=0.5)    # doctest: +SKIP

`low` may be a numpy array, a PIL image or a torch tensor; the result is of the same kind. Importing
this package is cheap: torch is loaded by the first call that needs it.
"""

from typing import TYPE_CHECKING, Any, Literal

from camixersr.errors import CamixerError

if TYPE_CHECKING:
    from camixersr.inference.upscaler import Upscaler

__all__ = ["CamixerError", "Upscaler", "__version__", "load", "restore", "upscale"]

__version__ = "0.1.0"


def load(
    model: str = "s-x4",
    *,
    backend: str = "torch",
    device: str = "auto",
    precision: str = "auto",
    tile: int | Literal["auto"] = "auto",
) -> "Upscaler":
    """Load a model, ready to enlarge pictures.

    Args:
        model: a name that `camixersr models list` shows, or a file of weights.
        backend: "torch", "compile", "onnxruntime", "openvino", or "auto"; see `camixersr.runtimes`.
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
    from camixersr.runtimes import upscaler

    return upscaler(find(model), backend=backend, device=device, precision=precision, tile=tile)


def upscale(
    image: Any,
    *,
    scale: int = 4,
    attention_ratio: float = 0.5,
    model: str = "",
    device: str = "auto",
    projection: Literal["flat", "erp"] = "flat",
) -> Any:
    """Enlarge one picture; to enlarge many, `load` once.

    Args:
        image: numpy (H x W or H x W x 1..4; uint8, uint16 or floating point in [0, 1]), PIL or
            torch ((B x) 3 x H x W).
        scale: 2, 3 or 4, as far as there are models.
        attention_ratio: gamma in [0, 1]: 0 is fastest, 1 attends everything.
        model: name or file; the embedded model of that scale by default.
        device: "auto", "cpu", "cuda" or "mps".
        projection: "erp" for a 360-degree panorama, see `Upscaler.upscale`.

    Returns:
        The same kind of picture, `scale` times as high and wide.

    Raises:
        CamixerError: see `camixersr.errors` for the kinds.
    """
    from camixersr.catalogue import default_model
    from camixersr.errors import UsageError

    upscaler = load(model or default_model(scale, projection=projection), device=device)
    if upscaler.model.restores:
        raise UsageError(
            f"model {upscaler.model.name} restores and does not enlarge; use camixersr.restore"
        )
    if upscaler.scale != scale:
        raise UsageError(f"model {upscaler.model.name} enlarges x{upscaler.scale}, not x{scale}")
    return upscaler.upscale(image, attention_ratio=attention_ratio, projection=projection)


def restore(
    image: Any, *, model: str = "s-jpeg", attention_ratio: float = 0.5, device: str = "auto"
) -> Any:
    """Undo what JPEG compression did to one picture (or noise, with a model for that).

    To restore many, `load` a model that restores once, and call its `upscale`: its scale is 1.

    Args:
        image: as for `upscale`. Blocks of a JPEG begin at the top left, so hand over the whole picture.
        model: name or file of a model that restores.
        attention_ratio: gamma in [0, 1]: 0 is fastest, 1 attends everything.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        The same kind of picture, of the same size.

    Raises:
        CamixerError: see `camixersr.errors` for the kinds.
    """
    from camixersr.errors import UsageError

    restorer = load(model, device=device)
    if not restorer.model.restores:
        raise UsageError(f"model {restorer.model.name} enlarges x{restorer.scale}; use camixersr.upscale")
    return restorer.upscale(image, attention_ratio=attention_ratio)


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from camixersr.inference.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'camixersr' has no attribute {name!r}")
