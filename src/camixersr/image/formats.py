"""File formats: how to tell them apart, what each can hold, and how we write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from camixersr.errors import OutputError, UsageError

__all__ = [
    "CAMERA_RAW",
    "HELD_BY_JPEG",
    "READABLE",
    "WRITABLE",
    "Format",
    "WriteOptions",
    "format_of",
    "is_lossless",
    "kind_of",
    "suffix_for",
]

Depth = Literal["8", "16", "float"]


@dataclass(frozen=True)
class Format:
    """What a writable format can hold.

    Attributes:
        kind: name, as `kind_of` says it.
        longest: longest side, pixels.
        alpha: whether it holds transparency.
        depths: bits a channel, or floating point.
        blocks: metadata blocks it holds, by libvips' names.
    """

    kind: str
    longest: int
    alpha: bool = True
    depths: tuple[Depth, ...] = ("8",)
    blocks: frozenset[str] = frozenset({"exif-data", "xmp-data", "icc-profile-data"})


_ALL = frozenset({"exif-data", "xmp-data", "icc-profile-data", "iptc-data"})
_JPEG = Format("jpeg", longest=65_500, alpha=False, blocks=_ALL)
_TIFF = Format("tiff", longest=2**31 - 1, depths=("8", "16", "float"), blocks=_ALL)
WRITABLE: Mapping[str, Format] = {
    ".avif": Format("avif", longest=16_383, depths=("8", "16")),
    ".jpeg": _JPEG,
    ".jpg": _JPEG,
    ".png": Format("png", longest=2**31 - 1, depths=("8", "16")),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": Format("webp", longest=16_383),
}
"""Suffix -> format, for every suffix that can be written."""

_CAMERA = "3fr arw cr2 cr3 dng erf iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 sr2 srw x3f"
CAMERA_RAW = frozenset(f".{each}" for each in _CAMERA.split())
"""Suffixes of camera files; most look like TIFF inside, and would give their small preview."""

_OTHERS = "bmp dib gif heic heif ico j2k jfif jp2 jpe pbm pcx pgm pnm ppm tga"
READABLE = frozenset(WRITABLE) | CAMERA_RAW | frozenset(f".{each}" for each in _OTHERS.split())
"""Suffixes that are taken for pictures when a folder is searched."""

_SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "avif": ".avif"}


def kind_of(head: bytes) -> str:
    """Tell a format by how a file begins.

    >>> kind_of(b"GIF89a")
    'gif'

    Args:
        head: the first 16 bytes or more.

    Returns:
        "png", "jpeg", "webp", "tiff", "avif", "heic", "gif", "bmp" or "netpbm"; empty if none of them.
    """
    for mark, kind in (
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"GIF8", "gif"),
        (b"BM", "bmp"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"MM\0+", "tiff"),
    ):
        if head.startswith(mark):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        brands = head[8:64]
        return "avif" if b"avif" in brands or b"avis" in brands else "heic"
    if head[:1] == b"P" and head[1:2] in b"1234567fF" and head[2:3].isspace():
        return "netpbm"
    return ""


def is_lossless(kind: str, file: BinaryIO) -> bool:
    """Whether a file holds exactly what was once put into it; AVIF is taken for lossy.

    Args:
        kind: from `kind_of`.
        file: seekable.
    """
    if kind != "webp":
        return kind not in ("jpeg", "avif", "heic")
    place = 12
    for _ in range(1000):  # RIFF chunks: four letters, a length, and that many bytes, padded to even
        file.seek(place)
        head = file.read(8)
        name = head[:4]
        if name == b"ANMF":  # the first frame, whose chunks begin after 16 bytes
            place += 24
        elif name in (b"VP8 ", b"VP8L") or len(head) < 8:
            return name == b"VP8L"
        else:
            length = int.from_bytes(head[4:], "little")
            place += 8 + length + length % 2
    return False


def format_of(suffix: str) -> Format:
    """The format that a suffix, with its dot, stands for.

    Raises:
        OutputError: it cannot be written; the message lists what can.
    """
    kind = WRITABLE.get(suffix.lower())
    if kind is None:
        raise OutputError(
            f"cannot write {suffix or 'a file without a suffix'}; use one of {', '.join(WRITABLE)}"
        )
    return kind


def suffix_for(
    kind: str,
    *,
    height: int,
    width: int,
    depth: Depth,
    name_suffix: str = "",
    wide: bool = False,
    alpha: bool = False,
) -> tuple[str, str]:
    """The format for a result: the source's where it can hold it, else PNG, else TIFF.

    HEIC, which is not written, becomes JPEG, or AVIF where it has more than 8 bits or transparency.

    Args:
        kind: of the source, from `kind_of`.
        height: rows of the result.
        width: columns.
        depth: of the result.
        name_suffix: of the source's name, kept where it says the same (".jpeg").
        wide: the source's colours are described by cICP, which only PNG can say of ours.
        alpha: it has transparency.

    Returns:
        The suffix, and why it is another than the source's; empty if it is not.
    """
    own, changed = _SUFFIX.get(kind, ""), ""
    if kind == "heic":
        kind = "jpeg" if depth == "8" and not alpha else "avif"
        own = _SUFFIX[kind]
        changed = f"HEIC is not written, so the result is {own}; --format png loses nothing more"
    name_suffix = name_suffix.lower()
    fallback = ".tif" if depth == "float" else ".png"
    if not own:
        return fallback, f"{kind or 'this format'} is not written, so the result is {fallback}"
    if name_suffix in WRITABLE and WRITABLE[name_suffix].kind == kind:
        own = name_suffix
    there = WRITABLE[own]
    if depth == "float" and depth not in there.depths:
        return fallback, f"{kind} holds no floating point, so the result is {fallback}"
    if max(height, width) > there.longest:
        return fallback, f"{kind} holds at most {there.longest} pixels a side, so the result is {fallback}"
    if wide and kind == "avif":
        return ".png", "AVIF is written without its HDR description, so the result is .png"
    return own, changed


HELD_BY_JPEG = 32 * 2**20
"""Bytes of pixels up to which JPEG's code tables are fitted to the picture, which saves a few per cent:
for that its encoder keeps the whole picture in memory, about four times these bytes."""


@dataclass(frozen=True)
class WriteOptions:
    """How to encode; None means the default.

    Attributes:
        quality: 1 to 100; JPEG, WebP (default 95) and AVIF (90).
        subsampling: of colour: "4:4:4" (default) or "4:2:0"; JPEG and AVIF.
        compression: PNG "0" to "9" (default 6); TIFF "none", "lzw", "deflate" (default) or "packbits".
        lossless: WebP and AVIF; by default where the source was.
        strip: write no metadata at all.

    Raises:
        UsageError: a value that no format knows.
    """

    quality: int | None = None
    subsampling: str | None = None
    compression: str | None = None
    lossless: bool | None = None
    strip: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality must lie in 1 to 100, got {self.quality}")
        if self.subsampling not in (None, "4:4:4", "4:2:0"):
            raise UsageError(f"--subsampling must be 4:4:4 or 4:2:0, got {self.subsampling}")
        words = (None, *"0123456789", *_TIFF_COMPRESSIONS)
        if self.compression not in words:
            raise UsageError(
                f"--compression must be 0 to 9 (PNG) or one of {', '.join(_TIFF_COMPRESSIONS)} (TIFF), "
                f"got {self.compression!r}"
            )

    def require_use(self, kind: str) -> None:
        """Refuse options that a format does not have.

        Args:
            kind: of the format to write.

        Raises:
            UsageError: there is one.
        """
        can_lose = kind in ("webp", "avif") and self.lossless is not True
        for name, value, fits in (
            ("quality", self.quality, kind == "jpeg" or can_lose),
            (
                "subsampling",
                self.subsampling,
                kind == "jpeg" or (kind == "avif" and self.lossless is not True),
            ),
            ("compression", self.compression, self._compression_for(kind) is not None),
            ("lossless", self.lossless or None, kind != "jpeg"),
        ):
            if value is not None and not fits:
                raise UsageError(f"--{name} {value} means nothing for {kind}; leave it out")

    def _compression_for(self, kind: str) -> str | None:
        if self.compression is None:
            return None
        number = self.compression.isdecimal()
        return self.compression if kind == ("png" if number else "tiff") else None

    def saver(self, kind: str, *, depth: Depth, source_lossless: bool, size: int) -> dict[str, object]:
        """Options for libvips.

        Args:
            kind: of the format.
            depth: of the picture.
            source_lossless: the picture came from a lossless file.
            size: bytes of its pixels.
        """
        lossless = self.lossless if self.lossless is not None else source_lossless
        compression = self._compression_for(kind)
        if kind == "png":
            return {"compression": int(compression or 6)}
        if kind == "jpeg":
            return {
                "Q": self.quality or 95,
                "subsample_mode": _SUBSAMPLE[self.subsampling],
                "optimize_coding": size <= HELD_BY_JPEG,
            }
        if kind == "webp":
            if lossless:
                return {"lossless": True, "exact": True}
            return {"Q": self.quality or 95}
        if kind == "avif":
            options: dict[str, object] = {"compression": "av1", "bitdepth": 8 if depth == "8" else 12}
            if lossless:
                return {**options, "lossless": True}
            return {**options, "Q": self.quality or 90, "subsample_mode": _SUBSAMPLE[self.subsampling]}
        options = {"compression": compression or "deflate", "bigtiff": size > 3 * 2**30}
        if options["compression"] in ("deflate", "lzw"):
            options["predictor"] = "float" if depth == "float" else "horizontal"
        return options


_TIFF_COMPRESSIONS = ("none", "lzw", "deflate", "packbits")
_SUBSAMPLE: Mapping[str | None, str] = {None: "off", "4:4:4": "off", "4:2:0": "on"}
