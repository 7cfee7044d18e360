"""What people hold pictures in (arrays, PIL images, tensors, files), to `Picture`, and back to the same.

Only containers are dealt with here: orientation, modes, metadata, where channels lie, what is white.
What becomes of pixels is the business of `camixersr.image.planes`.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, UsageError, ValueRangeError
from camixersr.image import exif
from camixersr.image.decode import read
from camixersr.image.metadata import upright_xmp
from camixersr.image.picture import Picture
from camixersr.image.planes import join, split

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["File", "Held", "is_batch", "loaded", "picture_of"]

Held = TypeVar("Held", NDArray[Any], "Image", "Tensor", Picture)
"""A picture in memory; what is made of it is of the same kind."""

File = str | Path | bytes
"""A picture's path or its encoded content; what is made of it is a `Picture`."""

Back = Callable[[Picture], Any]

EXIF = b"Exif\0\0"
XMP_OF_PNG = "XML:com.adobe.xmp"


def picture_of(image: Any, *, white: float | None = None) -> tuple[Picture, Back]:
    """Take a picture out of what it is held in.

    Args:
        image: an array (H x W, or H x W x 1 to 4 channels: grey, grey + alpha, RGB, RGBA), a PIL image, a
            tensor (the same channels first), a `Picture`, or a path or the content of a file.
        white: the value of white in floating point, and in PIL's mode I. By default 1 (mode I: 65535);
            values that cannot be meant so are refused then.

    Returns:
        The picture, upright, in uint8, uint16 or float32 with white at the top or at 1; and what makes
        of an enlarged one what the given one was.

    Raises:
        ShapeError: nothing that holds a picture, or none of these shapes and dtypes.
        ValueRangeError: values that are not finite, or that cannot be meant.
        ImageError: a file that cannot be decoded.
        UsageError: `white` for integers, or not positive.
    """
    if white is not None and not 0.0 < white < float("inf"):
        raise ValueRangeError(f"white must be positive, got {white:g}")
    if isinstance(image, np.ndarray):
        return _of_array(cast("NDArray[Any]", image), white)
    if hasattr(image, "getbands") and hasattr(image, "getexif"):
        return _of_pil(image, white)
    if hasattr(image, "new_tensor") and hasattr(image, "detach"):
        return _of_tensor(image, white)
    if white is not None:
        raise UsageError("white is for arrays, tensors and PIL images; a file says itself what it holds")
    if isinstance(image, Picture):
        return image, lambda high: high
    if isinstance(image, str | Path | bytes):
        return read(image), lambda high: high
    raise ShapeError(
        f"expected a numpy array, a PIL image, a torch tensor, a path or bytes, got {type(image).__name__}"
    )


def loaded(image: Any) -> Any:
    """A file's `Picture`; anything else as it is."""
    return read(image) if isinstance(image, str | Path | bytes) else image


def is_batch(image: Any) -> bool:
    """Whether it is several images in one tensor, B x C x H x W, at least one."""
    return hasattr(image, "new_tensor") and image.ndim == 4 and len(image) > 0


def _of_array(array: NDArray[Any], white: float | None) -> tuple[Picture, Back]:
    given, dtype = array.ndim, array.dtype
    pixels, alpha = split(array)
    scale = 1.0
    if dtype.kind == "f":
        scale = _white(pixels, white)
        pixels = _to_one(pixels, scale)
        alpha = None if alpha is None else _to_one(alpha, scale).clip(0.0, 1.0)
    elif white is not None:
        raise UsageError(f"white is for floating point, got {dtype}, whose white is known; leave it out")

    def back(high: Picture) -> NDArray[Any]:
        result = join(high.pixels, high.alpha)
        if dtype.kind == "f":
            result = (result if scale == 1.0 else result * np.float32(scale)).astype(dtype, copy=False)
        return result[:, :, 0] if given == 2 else result

    return Picture(pixels, alpha), back


def _to_one(values: NDArray[Any], white: float) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, and is refused
        values = values.astype(np.float32, copy=False)
    return values if white == 1.0 else np.divide(values, white, dtype=np.float32)


def _white(pixels: NDArray[Any], white: float | None) -> float:
    """The value of white; values that are not what they are taken for are refused."""
    if white is not None:
        return white
    top = float(pixels.max())
    if top > 1.0 and np.isfinite(pixels).all():
        whole = top >= 2.0 and bool((pixels == np.floor(pixels)).all())
        if whole or (pixels > 1.0).mean() > 0.5:
            likely = 255 if top < 256 else 65535 if top < 65536 else round(top)
            raise ValueRangeError(
                "expected floating point with white at 1, and only HDR beyond, got "
                f"{'whole numbers' if whole else 'mostly more'}, up to {top:g}; give white={likely}, or "
                "white=1 for HDR"
            )
    return 1.0


def _of_tensor(tensor: "Tensor", white: float | None) -> tuple[Picture, Back]:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 2, 3, 4) or 0 in tensor.shape:
        raise ShapeError(
            f"expected a tensor (B x) C x H x W with C = 1, 2, 3 or 4, got {tuple(tensor.shape)}"
        )
    floating = tensor.is_floating_point()
    if not floating and str(tensor.dtype) != "torch.uint8":
        raise ShapeError(f"expected a floating-point or uint8 tensor, got {tensor.dtype}; convert it first")
    given = tensor.detach().cpu()
    picture, back = _of_array((given.float() if floating else given).numpy().transpose(1, 2, 0), white)

    def into(high: Picture) -> "Tensor":
        return tensor.new_tensor(np.ascontiguousarray(back(high).transpose(2, 0, 1)))

    return picture, into


EXPANDED = {
    "1": "L",
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
"""PIL's modes that no network computes with, and what becomes of them."""


def _of_pil(image: "Image", white: float | None) -> tuple[Picture, Back]:
    from PIL import Image, ImageOps

    kept = {"transparency", "exif", "xmp", XMP_OF_PNG, "Raw profile type exif"}
    info = {name: value for name, value in image.info.items() if name not in kept}
    metadata = _metadata_of(image)
    upright = ImageOps.exif_transpose(image)
    mode = upright.mode
    if "transparency" in image.info and mode in ("1", "L", "P", "RGB"):
        upright = upright.convert("LA" if mode in ("1", "L") else "RGBA")
    elif mode in EXPANDED:
        upright = upright.convert(EXPANDED[mode])
    mode = upright.mode
    if mode == "CMYK":
        array = _from_cmyk(np.asarray(upright), info.pop("icc_profile", None))
    elif mode.startswith("I;16"):
        array = np.asarray(upright).astype(np.uint16)
    elif mode == "I":
        array, white = _from_integers(np.asarray(upright), white), None
    elif mode in ("L", "LA", "RGB", "RGBA", "F"):
        array = np.asarray(upright)
    else:
        raise ShapeError(f"expected a PIL image in L, LA, RGB, RGBA, I or F, got {mode}; convert it to RGB")
    picture, back = _of_array(array, white)

    def into(high: Picture) -> "Image":
        result = back(high)
        if mode == "I":
            made = Image.fromarray(result.astype(np.int32))
        else:
            made = Image.fromarray(result.astype(">u2") if mode == "I;16B" else result)
        made.info = dict(info)
        if "exif-data" in high.metadata:
            made.info["exif"] = EXIF + high.metadata["exif-data"][1]
        if "xmp-data" in high.metadata:
            block = high.metadata["xmp-data"][1]
            made.info["xmp"] = block
            if XMP_OF_PNG in image.info:
                made.info[XMP_OF_PNG] = block.decode("utf-8", "replace")
        return made

    return replace(picture, metadata=metadata), into


def _metadata_of(image: "Image") -> dict[str, tuple[int, Any]]:
    """EXIF and XMP of a PIL image, as `Picture` has them, of the picture upright."""
    found: dict[str, tuple[int, Any]] = {}
    block = image.info.get("exif", b"")
    if not block and len(image.getexif()):  # of a TIFF, or made by hand: without what tells of the file
        block = exif.from_tiff(io.BytesIO(image.getexif().tobytes().removeprefix(EXIF)))
    if block:
        found["exif-data"] = 0, block.removeprefix(EXIF)
    xmp = image.info.get("xmp") or image.info.get(XMP_OF_PNG)
    if xmp:
        found["xmp-data"] = 0, upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp)
    return found


def _from_integers(array: NDArray[Any], white: float | None) -> NDArray[Any]:
    """Mode I, in which PIL puts what has 16 bits, and what `convert` makes of 8."""
    least, most = int(array.min()), int(array.max())
    if white not in (None, 255, 65535):
        raise UsageError(f"white of mode I is 65535 or 255, got {white:g}")
    if least < 0 or most > (white or 65535):
        raise ValueRangeError(f"expected mode I from 0 to {white or 65535:g}, got {least} to {most}")
    if white is None and 0 < most <= 255:
        raise ValueRangeError(
            f"expected mode I with 16 bits, got at most {most}; give white=255, or white=65535 if it is "
            "that dark"
        )
    return array.astype(np.uint8 if white == 255 else np.uint16)


def _from_cmyk(array: NDArray[Any], profile: bytes | None) -> NDArray[Any]:
    """CMYK as PIL has it to RGB, as files are decoded: through its profile, or a general one."""
    from camixersr.image.color import PROFILE, to_rgb
    from camixersr.image.libvips import vips

    image = vips().Image.new_from_array(array).copy(interpretation="cmyk")
    if profile:
        image.set_type(vips().GValue.blob_type, PROFILE, profile)
    return to_rgb(image, "keep")[0].numpy()
