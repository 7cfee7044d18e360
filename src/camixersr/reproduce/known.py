"""The benchmark sets of the paper's tables: names, numbers of pictures, and what their pixels hash to.

Where each comes from, and its licence, tells docs/data.md.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["KNOWN", "KnownSet", "hash_of", "hashes", "is_called", "known_set"]

HASHES = Path(__file__).with_name("hashes.json")


@dataclass(frozen=True)
class KnownSet:
    """A published set.

    Attributes:
        name: as tables print it.
        pictures: how many it has.
        scales: at which tables use it.
        aliases: other names of its folder; case and punctuation do not matter.
        panoramas: its pictures are equirectangular.
    """

    name: str
    pictures: int
    scales: tuple[int, ...]
    aliases: tuple[str, ...] = ()
    panoramas: bool = False


KNOWN: Mapping[str, KnownSet] = {
    each.name: each
    for each in (
        KnownSet("Set5", 5, (2, 3, 4)),
        KnownSet("Set14", 14, (2, 3, 4)),
        KnownSet("BSD100", 100, (2, 3, 4), ("B100", "BSDS100")),
        KnownSet("Urban100", 100, (2, 3, 4)),
        KnownSet("Manga109", 109, (2, 3, 4)),
        KnownSet("F2K", 100, (4,), ("Flickr2K_test",)),
        KnownSet("Test2K", 100, (4,), ("2K", "DIV8K_2K")),
        KnownSet("Test4K", 100, (4,), ("4K", "DIV8K_4K")),
        KnownSet("Test8K", 100, (4,), ("8K", "DIV8K_8K")),
        # the authors' make_clean_lau_dataset.py (OSRT's) leaves three of LAU-Net's 100 out: 014, 023, 045
        KnownSet("ODI-SR", 97, (2, 4), ("odisr_test",), panoramas=True),
        KnownSet("SUN360", 100, (2, 4), ("sun_test", "sun360_test", "sun"), panoramas=True),
    )
}
"""Every set of the paper's tables, by name."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_called(folder: str, known: KnownSet) -> bool:
    """Whether a folder's name means a known set.

    >>> is_called("b100", KNOWN["BSD100"]), is_called("Set5", KNOWN["BSD100"])
    (True, False)
    """
    return _plain(folder) in {_plain(each) for each in (known.name, *known.aliases)}


def known_set(name: str) -> KnownSet | None:
    """The known set of that name or alias; None if there is none."""
    return next((each for each in KNOWN.values() if is_called(name, each)), None)


def hash_of(pixels: NDArray[np.uint8]) -> str:
    """Sixteen hexadecimal digits of a picture's size and pixels: any lossless file of it has the same.

    Args:
        pixels: H x W x 3 uint8.
    """
    content = hashlib.sha256(repr(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).tobytes())
    return content.hexdigest()[:16]


@cache
def hashes() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """`hash_of` of every high picture and every low one, by "Set5/x4" and "high" or "low".

    High pictures are cropped to what their low ones cover. Only sets that were at hand are here.
    """
    content = json.loads(HASHES.read_text(encoding="utf-8"))
    return {
        name: {part: frozenset(each) for part, each in parts.items()} for name, parts in content.items()
    }
