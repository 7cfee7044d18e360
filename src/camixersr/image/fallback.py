"""What libvips does not decode here: BMP, PPM and others through Pillow; HEIC; camera RAW.

Each reader gives a pyvips image with the fields that libvips itself would have set, so that all
pictures go the same way from there.
"""

import io
import os
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ImageError, MissingExtraError
from camixersr.extras import install_line
from camixersr.image.metadata import field_of, fields, png_chunk, splice_png

__all__ = ["exif_fields", "read_heic", "read_with_pillow", "read_with_rawpy", "with_blocks"]

PILLOW_FORMATS = (
    "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
"""What Pillow is asked for: formats of pixels, none that runs a program (as EPS does)."""


class TooLargeError(ImageError):
    """More pixels than allowed."""


def check_pixels(height: int, width: int, limit: int) -> None:
    """Refuse a picture by its header, before its pixels are decoded.

    Raises:
        ImageError: it has more than `limit` pixels.
    """
    if height * width > limit:
        raise TooLargeError(
            f"{width} x {height} pixels are more than the limit of {limit}; raise it with --max-pixels"
        )


def _image(array: NDArray[Any]) -> Any:
    import pyvips

    if array.ndim == 2:
        array = array[:, :, None]
    deep, grey = array.dtype != np.uint8, array.shape[2] < 3
    kind = ("grey16" if grey else "rgb16") if deep else ("b-w" if grey else "srgb")
    if array.dtype.kind == "f":
        kind = "b-w" if grey else "scrgb"
    return pyvips.Image.new_from_array(np.ascontiguousarray(array)).copy(interpretation=kind)


def with_blocks(image: Any, **blocks: bytes | None) -> Any:
    """The image with metadata blocks set: `exif`, `xmp`, `iptc` and `icc_profile`."""
    import pyvips

    names = {"exif": "exif-data", "xmp": "xmp-data", "iptc": "iptc-data", "icc_profile": "icc-profile-data"}
    image = image.copy()
    for name, block in blocks.items():
        if block:
            image.set_type(pyvips.GValue.blob_type, names[name], bytes(block))
    return image


def exif_fields(block: bytes) -> dict[str, tuple[int, Any]]:
    """What libvips reads from an EXIF block: it writes only what it has read itself.

    Args:
        block: EXIF, beginning with its byte order mark.

    Returns:
        Field name -> (type, value), with the block itself.
    """
    import pyvips

    blank = pyvips.Image.black(1, 1).write_to_buffer(".png", keep="none")
    carrier = splice_png(blank, png_chunk(b"eXIf", block))
    image = pyvips.Image.pngload_buffer(carrier)
    return {name: field_of(image, name) for name in fields(image) if name.startswith("exif-")}


@contextmanager
def _without_libtiffs_remarks() -> Generator[None, None, None]:
    """Keep what Pillow's libtiff prints on stderr from there; our own lines are passed on."""
    try:
        before = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            aside.seek(0)
            for line in aside:
                if line.startswith(b"camixersr: "):
                    os.write(2, line)


def read_with_pillow(source: Path | bytes, *, max_pixels: int, page: int = 0) -> tuple[Any, str]:
    """Decode with Pillow, which is strict about truncation too.

    Args:
        source: file, or its content.
        max_pixels: limit, checked before decoding.
        page: which page or frame, from 0; of a TIFF every directory counts.

    Returns:
        A pyvips image in memory, and the format's name in small letters.

    Raises:
        ImageError: Pillow cannot decode it, or only with a loss of depth.
    """
    from PIL import Image, ImageCms

    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings(), _without_libtiffs_remarks():
        warnings.simplefilter("ignore")  # its limit of pixels and its remarks on metadata
        try:
            with Image.open(stream, formats=PILLOW_FORMATS) as picture:
                if page:
                    picture.seek(page)
                check_pixels(picture.height, picture.width, max_pixels)
                kind = (picture.format or "").lower()
                if kind == "ppm":
                    deep = _deep_netpbm(source, picture.height, picture.width)
                    if deep is not None:
                        return _image(deep), kind
                picture.load()
                info = dict(picture.info)
                exif = picture.getexif().tobytes() if kind != "tiff" else b""
                if picture.mode == "LAB":
                    profiles = (ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"))
                    converted = ImageCms.profileToProfile(picture, *profiles, outputMode="RGB")
                    assert converted is not None
                    array = np.asarray(converted)
                    info.pop("icc_profile", None)
                else:
                    array = _array(picture, kind)
        except ImageError:
            raise
        except Exception as error:
            # Pillow's parsers let almost any error out on malformed files; MemoryError stays itself
            if isinstance(error, MemoryError):
                raise
            raise ImageError(f"Pillow: {error}") from error
    xmp = info.get("xmp")
    image = with_blocks(
        _image(array),
        exif=exif.removeprefix(b"Exif\0\0") if len(exif) > 14 else None,
        xmp=xmp if isinstance(xmp, bytes) else None,
        icc_profile=info.get("icc_profile"),
    )
    dpi = info.get("dpi")
    if isinstance(dpi, tuple) and all(float(each) > 0 for each in dpi[:2]):
        image = image.copy(xres=float(dpi[0]) / 25.4, yres=float(dpi[1]) / 25.4)
    return image, kind


def _array(picture: Any, kind: str) -> NDArray[Any]:
    """Pixels of a loaded picture, deep where it is deep."""
    mode = picture.mode
    if kind == "tiff":
        bits = picture.tag_v2.get(258, (1,))
        if max(bits) > 8 and not (len(bits) == 1 and (mode.startswith("I;16") or mode == "F")):
            raise ImageError(f"{max(bits)} bits a channel, which Pillow would cut to 8")
    if mode.startswith("I;16"):
        array = np.asarray(picture).astype(np.uint16)
        bits = picture.tag_v2.get(258, (16,))[0] if kind == "tiff" else 16
        if bits < 16:
            array = np.round(array * (65535.0 / (2**bits - 1))).clip(0, 65535).astype(np.uint16)
        return array
    if mode == "I":
        wide = np.asarray(picture)
        if wide.min() < 0 or wide.max() > 65535:
            raise ImageError("32-bit integer pixels; convert it to 16 bits first")
        return wide.astype(np.uint16)
    if mode == "F":
        return np.asarray(picture).astype(np.float32)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        transparent = "transparency" in picture.info or mode in ("PA", "La", "RGBa")
        picture = picture.convert("RGBA" if transparent else ("L" if mode == "1" else "RGB"))
    return np.asarray(picture)


def _deep_netpbm(source: Path | bytes, height: int, width: int) -> NDArray[np.uint16] | None:
    """Pixels of a binary PGM or PPM of more than 8 bits, which Pillow would cut; None for others."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    if data[:2] not in (b"P5", b"P6"):
        return None
    numbers: list[int] = []
    place = 2
    while len(numbers) < 3:
        while data[place : place + 1].isspace():
            place += 1
        if data[place : place + 1] == b"#":
            place = data.find(b"\n", place)
            if place < 0:
                return None
            continue
        end = place
        while data[end : end + 1].isdigit():
            end += 1
        if end == place or end - place > 10:
            return None
        numbers.append(int(data[place:end]))
        place = end
    if not 255 < numbers[2] <= 65535:
        return None
    channels = 1 if data[:2] == b"P5" else 3
    needed = height * width * channels
    if len(data) - place - 1 < 2 * needed:
        raise ImageError("the file is truncated")
    values = np.frombuffer(data, ">u2", needed, place + 1).reshape(height, width, channels)
    return np.round(values.clip(0, numbers[2]) * (65535.0 / numbers[2])).astype(np.uint16)


def read_heic(source: Path | bytes, *, max_pixels: int) -> Any:
    """Decode HEIC or HEIF, with more than 8 bits where the file has them.

    Raises:
        ImageError: it cannot be decoded.
    """
    import pi_heif

    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        file = pi_heif.open_heif(stream, convert_hdr_to_8bit=False, bgr_mode=False)
        width, height = file.size
        check_pixels(height, width, max_pixels)
        array = np.asarray(file)
        info: dict[str, Any] = dict(file.info)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"the HEIC cannot be decoded ({error})") from error
    exif = bytes(info.get("exif") or b"")
    return with_blocks(
        _image(array),
        exif=exif.removeprefix(b"Exif\0\0"),
        xmp=info.get("xmp"),
        icc_profile=info.get("icc_profile"),
    )


def read_with_rawpy(source: Path | bytes, *, max_pixels: int) -> Any:
    """Develop a camera's RAW file: its white balance, sRGB, 16 bits, upright.

    Raises:
        MissingExtraError: rawpy is not installed.
        ImageError: it cannot be developed.
    """
    try:
        import rawpy
    except ImportError as error:
        raise MissingExtraError(f"camera RAW needs the extra `raw`; {install_line('raw')}") from error
    stream = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        with rawpy.imread(stream) as raw:
            check_pixels(raw.sizes.height, raw.sizes.width, max_pixels)
            array = raw.postprocess(use_camera_wb=True, output_bps=16)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"the camera RAW cannot be developed ({error})") from error
    return _image(np.asarray(array))
