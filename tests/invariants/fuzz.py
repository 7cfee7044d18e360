"""Read mutated pictures: `python -m tests.invariants.fuzz COUNT SEED` prints what came of them.

Every input must end in a picture that can be written, or in one of our errors. Anything else ends
this process, which is why the test starts one.
"""

import faulthandler
import io
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from camixersr.errors import ImageError, OutputError
from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.metadata import fitted
from tests.image.files import SRGB, camera_exif, png, wide_profile

XMP = b'<x:xmpmeta><a GPano:FullPanoWidthPixels="12" tiff:Orientation="6"/></x:xmpmeta>'
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds() -> list[bytes]:
    """Small files of every kind that is read."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    exif = camera_exif(6, width=16, height=12)
    files: list[bytes] = []
    for kind, mode, options in (
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "1", {}),
        ("JPEG", "RGB", {"xmp": XMP}), ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {}), ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "1", {"compression": "group4"}), ("TIFF", "LAB", {}), ("GIF", "P", {}), ("BMP", "RGB", {}),
        ("BMP", "P", {}), ("PPM", "RGB", {}), ("AVIF", "RGB", {}), ("TGA", "RGB", {}),
    ):  # fmt: skip
        stream = io.BytesIO()
        picture = Image.fromarray(image)
        picture = Image.new("LAB", (16, 12)) if mode == "LAB" else picture.convert(mode)
        known = {} if kind in ("GIF", "BMP", "PPM", "TGA") else {"exif": exif}
        if mode in ("RGB", "RGBA") and known:
            known["icc_profile"] = SRGB if mode == "RGB" else wide_profile()
        picture.save(stream, kind, **known, **options)
        files.append(stream.getvalue())
    deep = image.astype(np.uint16) * 257
    files.append(
        png(deep, (b"eXIf", exif.tobytes()[6:]), (b"cICP", bytes((9, 16, 0, 1))), (b"gAMA", bytes(4)))
    )
    for array in (deep, image.astype(np.float32) / 100):
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, photometric="rgb", iccprofile=SRGB, bigtiff=array is deep)
        files.append(stream.getvalue())
    files.append(b"P6 16 12 65535\n" + deep.tobytes())
    return files


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Break a file somewhere."""
    result = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        if not result:
            break
        # headers and directories are where the trouble is
        place = (
            dice.randrange(len(result)) if dice.random() < 0.5 else dice.randrange(min(len(result), 200))
        )
        match dice.randrange(6):
            case 0:
                result[place] ^= 1 << dice.randrange(8)
            case 1:
                code = dice.choice(("<H", ">H", "<I", ">I"))
                number = dice.choice(NUMBERS) & (0xFFFF if code[1] == "H" else 0xFFFFFFFF)
                result[place : place + struct.calcsize(code)] = struct.pack(code, number)
            case 2:
                del result[place:]
            case 3:
                del result[place : place + dice.randrange(1, 40)]
            case 4:
                other = dice.randrange(len(result))
                result[place:place] = result[other : other + dice.randrange(1, 60)]
            case _:
                result[place : place + 8] = dice.randbytes(8)
    return bytes(result)


def run(count: int, seed: int) -> dict[str, object]:
    """Read so many mutated files."""
    dice = random.Random(seed)
    originals = seeds()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        for number in range(count):
            data = mutate(dice.choice(originals), dice)
            began = time.perf_counter()
            try:
                if number % 2:
                    picture = read(data, max_pixels=4_000_000, color=dice.choice(("keep", "srgb")))
                else:
                    path.write_bytes(data)
                    picture = read(path, max_pixels=4_000_000)
            except ImageError as error:
                outcomes["in several lines"] += "\n" in str(error)
                outcomes["refused"] += 1
            else:
                assert picture.pixels.shape[2] in (1, 3)
                assert picture.pixels.dtype in (np.uint8, np.uint16, np.float32)
                outcomes["read, with a note" if picture.notes else "read"] += 1
                if number % 5 == 0 and picture.pixels.size < 100_000:
                    low = (picture.height, picture.width)
                    high = (2 * low[0], 2 * low[1])
                    picture = replace(picture, metadata=fitted(picture.metadata, low=low, high=high))
                    suffix = dice.choice((".png", ".jpg", ".tif", ".webp"))
                    try:
                        write(Path(folder) / f"out{suffix}", picture)
                    except OutputError:
                        outcomes["not written"] += 1
                    else:
                        outcomes["written"] += 1
            slowest = max(slowest, time.perf_counter() - began)
    return {**outcomes, "slowest": round(slowest, 3)}


if __name__ == "__main__":
    faulthandler.enable()
    import warnings

    warnings.simplefilter("error")
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
