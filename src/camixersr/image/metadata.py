"""What a picture carries beside its pixels, and what an enlargement changes of it.

One form inside the program, whatever the file was: libvips' names for the blocks (`exif-data`,
`xmp-data`, `iptc-data`, `icc-profile-data`) and for the resolution. EXIF has no parsed twin here:
libvips derives that from the block when a file is written.
"""

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from camixersr.image.exif import correct

__all__ = [
    "BLOCKS",
    "PNG_COLOUR",
    "RESOLUTION",
    "Metadata",
    "cicp_of_heif",
    "correct_xmp",
    "field_of",
    "fields",
    "fitted",
    "gather",
    "iptc_for",
    "png_chunk",
    "png_colour_chunks",
    "splice_png",
    "upright_xmp",
]

Metadata = Mapping[str, tuple[int, Any]]

BLOCKS = {"exif-data": "EXIF", "xmp-data": "XMP", "iptc-data": "IPTC", "icc-profile-data": "colour profile"}
"""Names of the blocks, and what people call them."""

RESOLUTION = ("xres", "yres", "resolution-unit")
"""Pixels a millimetre, and the unit that the file said it in."""

PNG_COLOUR = "camixersr-png-colour"
"""Chunks of a PNG that say what its values mean, where no profile does: cICP, gAMA, cHRM ..."""

_COMMENTS = ("image-description", "jpeg-comment")


def fields(image: Any) -> list[str]:
    """Names of a pyvips image's fields; only the usual ones where some name is not UTF-8."""
    try:
        return image.get_fields()
    except UnicodeDecodeError:
        usual = (*BLOCKS, *RESOLUTION, *_COMMENTS)
        return [name for name in usual if image.get_typeof(name)]


def field_of(image: Any, name: str) -> tuple[int, Any]:
    """Type and value of a field; text that is not UTF-8, as old cameras wrote, as bytes."""
    kind = image.get_typeof(name)
    try:
        return kind, image.get(name)
    except UnicodeDecodeError:
        import pyvips

        box = pyvips.GValue()
        pyvips.vips_lib.vips_image_get(image.pointer, name.encode(), box.pointer)
        text = pyvips.vips_lib.vips_value_get_ref_string(box.pointer, pyvips.ffi.NULL)
        return kind, pyvips.ffi.string(text)


def gather(image: Any) -> dict[str, tuple[int, Any]]:
    """Everything libvips read that belongs to the picture, and not to its pixels or its encoding.

    Args:
        image: a pyvips image.

    Returns:
        Field name -> (type, value).
    """
    kept: dict[str, tuple[int, Any]] = {}
    for name in fields(image):
        wanted = name in BLOCKS or name in RESOLUTION or name.startswith(_COMMENTS)
        if wanted or name.startswith("png-comment-"):
            if name.startswith("png-comment-") and name.endswith("XML:com.adobe.xmp"):
                continue  # xmp-data holds it
            kept[name] = field_of(image, name)
    if kept.get("xres", (0, 1.0))[1] in (0.0, 1.0) and kept.get("yres", (0, 1.0))[1] in (0.0, 1.0):
        for name in RESOLUTION:  # libvips' way to say that the file does not tell
            kept.pop(name, None)
    return kept


# names by axis: height, width
_ENLARGED = (
    "FullPanoHeightPixels CroppedAreaImageHeightPixels CroppedAreaTopPixels "
    "LargestValidInteriorRectTop LargestValidInteriorRectHeight",
    "FullPanoWidthPixels CroppedAreaImageWidthPixels CroppedAreaLeftPixels "
    "LargestValidInteriorRectLeft LargestValidInteriorRectWidth",
)
_SIZES = ("exif:PixelYDimension tiff:ImageLength", "exif:PixelXDimension tiff:ImageWidth")


def _replace(xmp: str, name: str, change: Callable[[float], int]) -> str:
    """Change a number of at most 20 digits, written as an attribute or as an element."""
    pattern = rf"(\b{name}\s*=\s*[\"']|<{name}>)\s*([0-9]{{1,20}}(?:\.[0-9]{{1,20}})?)(?=[\"'<\s])"
    return re.sub(pattern, lambda match: match[1] + str(change(float(match[2]))), xmp)


def _times(value: float, *, factor: float) -> int:
    return round(value * factor)


def _always(_: float, *, result: int) -> int:
    return result


def _without(xmp: str, element: str) -> str:
    """Drop elements of that name, which do not nest."""
    kept: list[str] = []
    place = 0
    while (start := xmp.find(f"<{element}", place)) >= 0:
        end = xmp.find(f"</{element}>", start)
        if end < 0:
            break
        kept.append(xmp[place:start])
        place = end + len(element) + 3
    return "".join((*kept, xmp[place:]))


def correct_xmp(block: bytes, *, low: tuple[int, int], high: tuple[int, int]) -> bytes:
    """Make the sizes in an XMP packet true of the enlarged, upright picture.

    Panorama sizes (GPano) grow by the factor; the pixel size is the new one; embedded thumbnails go,
    and so does the description of a gain map, which is not carried.

    Args:
        block: the packet.
        low: height, width of the upright picture that was read.
        high: height, width of the one that is written.

    Returns:
        The packet; as it came if it is no text.
    """
    try:
        xmp = block.decode("utf-8")
    except UnicodeDecodeError:
        return block
    for axis in (0, 1):
        factor = high[axis] / low[axis]
        for name in _ENLARGED[axis].split():
            xmp = _replace(xmp, f"GPano:{name}", partial(_times, factor=factor))
        for name in _SIZES[axis].split():
            xmp = _replace(xmp, name, partial(_always, result=high[axis]))
    for element in ("xmp:Thumbnails", "xap:Thumbnails"):
        xmp = _without(xmp, element)
    if "hdrgm:" in xmp:
        xmp = re.sub(r"\shdrgm:\w{1,40}\s?=\s?\"[^\"<]{0,200}\"", "", _without(xmp, "Container:Directory"))
    return xmp.encode("utf-8")


def upright_xmp(block: bytes) -> bytes:
    """The XMP packet of a picture whose orientation has been applied."""
    try:
        xmp = block.decode("utf-8")
    except UnicodeDecodeError:
        return block
    return _replace(xmp, "tiff:Orientation", partial(_always, result=1)).encode("utf-8")


def fitted(
    metadata: Metadata, *, low: tuple[int, int], high: tuple[int, int]
) -> dict[str, tuple[int, Any]]:
    """Metadata of an enlarged picture.

    Args:
        metadata: of the picture that was read.
        low: its height and width.
        high: height and width of the enlarged one.

    Returns:
        The same, with pixel sizes, orientation and thumbnails made true; a block that cannot be
        read is left out.
    """
    result = dict(metadata)
    if "exif-data" in result:
        kind, block = result["exif-data"]
        block = correct(bytes(block).removeprefix(b"Exif\0\0"), height=high[0], width=high[1])
        result["exif-data"] = kind, block
        if not block:
            del result["exif-data"]
    if "xmp-data" in result:
        kind, block = result["xmp-data"]
        result["xmp-data"] = kind, correct_xmp(bytes(block), low=low, high=high)
    return result


_RESOURCES, _IPTC = b"Photoshop 3.0\0", 0x0404


def iptc_for(kind: str, block: bytes) -> bytes:
    """The IPTC block as a format wants it: JPEG among Photoshop's image resources, TIFF bare.

    Args:
        kind: "jpeg" or "tiff".
        block: either form.

    Returns:
        The other form where needed; empty if there is nothing for TIFF in it.
    """
    wrapped = block.startswith(_RESOURCES)
    if kind == "jpeg" and not wrapped:
        return (
            _RESOURCES
            + struct.pack(">4sHHI", b"8BIM", _IPTC, 0, len(block))
            + block
            + bytes(len(block) % 2)
        )
    if kind != "tiff" or not wrapped:
        return block
    place = len(_RESOURCES)
    while block[place : place + 4] == b"8BIM" and place + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, place + 4)
        place += 6 + (block[place + 6] + 2) // 2 * 2  # a name, padded with its length to even
        if place + 4 > len(block):
            break
        (length,) = struct.unpack_from(">I", block, place)
        if number == _IPTC:
            return block[place + 4 : place + 4 + length]
        place += 4 + length + length % 2
    return b""


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file, with length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_colour_chunks(head: bytes) -> bytes:
    """Colour chunks of a PNG without a profile that is not plain sRGB; empty if there are none.

    Args:
        head: the beginning of the file.
    """
    kept: dict[bytes, bytes] = {}
    profile = False
    place = len(PNG_SIGNATURE)
    while place + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, place)
        data = head[place + 8 : place + 8 + length]
        if kind in (b"IDAT", b"IEND") or len(data) < length:
            break
        profile |= kind == b"iCCP"
        if kind in (b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI", b"cLLi", b"mDCv"):
            kept[kind] = png_chunk(kind, data)
        place += 12 + length
    if b"cICP" not in kept and (profile or b"sRGB" in kept):
        return b""  # the profile says it, or it is what anyone assumes
    return b"".join(kept.values())


def cicp_of_heif(head: bytes) -> bytes:
    """The PNG chunk for an AVIF or HEIC whose values are HDR (PQ or HLG); empty for any other.

    Args:
        head: the beginning of the file, with its `colr` box.
    """
    place = head.find(b"colrnclx")
    if place < 0 or len(head) < place + 15:
        return b""
    primaries, transfer = struct.unpack_from(">HH", head, place + 8)
    if transfer not in (16, 18):
        return b""
    return png_chunk(b"cICP", bytes((primaries & 255, transfer, 0, 1)))


def splice_png(data: bytes, chunks: bytes) -> bytes:
    """Put chunks behind the first one (IHDR) of a PNG's beginning.

    Args:
        data: at least the first 33 bytes of a PNG.
        chunks: whole chunks.
    """
    return data[:33] + chunks + data[33:]
