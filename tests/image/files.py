"""Files made and opened without our codec: Pillow, tifffile, and PNG by hand for 16 bits."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_profile() -> bytes:
    """AdobeRGB in all but name: an RGB matrix profile (ICC.1 v2) with other primaries, gamma 2.2."""
    return _matrix_profile(
        {"rXYZ": (0.60974, 0.31111, 0.01947), "gXYZ": (0.20528, 0.62567, 0.06087),
         "bXYZ": (0.14919, 0.06322, 0.74457)}, b"RGB "
    )  # fmt: skip


def grey_profile() -> bytes:
    """A greyscale profile of gamma 2.2."""
    return _matrix_profile({}, b"GRAY")


def _matrix_profile(columns: dict[str, tuple[float, float, float]], space: bytes) -> bytes:
    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(each * 65536)) for each in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    text = b"camixersr test profile\0"
    blocks = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        **{name.encode(): b"XYZ " + bytes(4) + fixed(*value) for name, value in columns.items()},
        **({b"kTRC": curve} if space == b"GRAY" else {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}),
    }
    table, data, place = b"", b"", 128 + 4 + 12 * len(blocks)
    for name, block in blocks.items():
        table += struct.pack(">4sII", name, place + len(data), len(block))
        data += block + bytes(-len(block) % 4)
    size = place + len(data)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02200000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(blocks)) + table + data


def camera_exif(orientation: int = 1, *, width: int = 0, height: int = 0) -> Image.Exif:
    """What a camera writes, more or less."""
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[0x0110] = "a description", "Maker", "Model X"
    exif[0x0112] = orientation
    exif[0x013B], exif[0x8298], exif[0x0132] = "An Artist", "(c) somebody", "2020:01:02 03:04:05"
    inner = exif.get_ifd(0x8769)
    inner[0x829A], inner[0x829D], inner[0x8827] = IFDRational(1, 250), IFDRational(28, 10), 400
    inner[0x9003], inner[0x9011], inner[0xA434] = "2020:01:02 03:04:05", "+02:00", "Lens 50mm"
    inner[0x927C] = b"maker's own note " * 8
    inner[0xA001] = 1
    if width:
        inner[0xA002], inner[0xA003] = width, height
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (IFDRational(48), IFDRational(51), IFDRational(2976, 100))
    place[3], place[4] = "E", (IFDRational(2), IFDRational(17), IFDRational(4000, 100))
    return exif


def exif_of(path: Path) -> dict[tuple[int, int], Any]:
    """All EXIF tags that Pillow finds in a file: (directory, tag) -> value."""
    with Image.open(path) as image:
        exif = image.getexif()
        tags = {
            (directory, tag): value
            for directory in (0x8769, 0x8825)
            for tag, value in exif.get_ifd(directory).items()
        }
        return tags | {(0, tag): value for tag, value in exif.items() if tag not in (0x8769, 0x8825)}


def png(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of H x W x 1 to 4, uint8 or uint16, with more chunks behind the header."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    step = width * channels * bits // 8
    raw = b"".join(b"\0" + rows[at : at + step] for at in range(0, len(rows), step))
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    every = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in every
    )


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Chunks of a PNG by kind, each checked; data chunks joined."""
    found: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + body)
        found[kind] = found.get(kind, b"") + body
        place += 12 + length
    return found


def decode_png(data: bytes) -> np.ndarray:
    """Pixels of a PNG that is not interlaced and has no palette, straight from its specification."""
    chunks = png_chunks(data)
    width, height, bits, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    raw = zlib.decompress(chunks[b"IDAT"])
    unit = channels * bits // 8
    step = width * unit
    before = np.zeros(step, np.uint8)
    rows: list[np.ndarray] = []
    for number in range(height):
        kind, line = raw[number * (step + 1)], raw[number * (step + 1) + 1 : (number + 1) * (step + 1)]
        row = np.frombuffer(line, np.uint8).copy()
        if kind == 2:
            row += before
        elif kind:
            for at in range(step):
                left = int(row[at - unit]) if at >= unit else 0
                above, corner = int(before[at]), int(before[at - unit]) if at >= unit else 0
                guess = left
                if kind == 3:
                    guess = (left + above) // 2
                elif kind == 4:
                    distance = [abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)]
                    guess = (left, above, corner)[distance.index(min(distance))]
                row[at] = (int(row[at]) + guess) & 255
        rows.append(row)
        before = row
    flat = np.concatenate(rows)
    if bits == 16:
        return flat.view(">u2").astype(np.uint16).reshape(height, width, channels)
    return flat.reshape(height, width, channels)


def open_independently(path: Path) -> np.ndarray:
    """Pixels of a result as H x W x C, deep where the file is deep."""
    data = path.read_bytes()
    if data[:4] == b"\x89PNG":
        return decode_png(data)
    if data[:2] in (b"II", b"MM"):
        array = tifffile.imread(path)
    else:
        with Image.open(io.BytesIO(data)) as image:
            array = np.asarray(image)
    return array if array.ndim == 3 else array[:, :, None]
