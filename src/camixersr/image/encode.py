"""Pixels to files, whole or not at all: see `camixersr.image.files`.

What a picture carries beside its pixels is written back, as far as the format holds it; what it does
not hold is told in words.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camixersr.errors import OutputError
from camixersr.image import exif, fallback
from camixersr.image.files import replacing, require_writable, shown
from camixersr.image.formats import Depth, Format, WriteOptions, format_of
from camixersr.image.libvips import unwritable, vips
from camixersr.image.metadata import BLOCKS, PNG_COLOUR, Metadata, iptc_for, splice_png
from camixersr.image.picture import Picture
from camixersr.image.tiff import append

__all__ = ["check_writable", "complete", "finish", "save", "write", "write_pages"]


def check_writable(path: str | Path, *, height: int, width: int) -> None:
    """Refuse a target that cannot work, before anything long is computed for it.

    Args:
        path: the file to be written.
        height: rows of the picture.
        width: columns of it.

    Raises:
        OutputError: unknown suffix, missing folder, a folder by that name, or a picture too large
            for the format.
    """
    path = Path(path)
    kind = _format(path)
    if max(height, width) > kind.longest:
        raise OutputError(
            f"{shown(path)}: {path.suffix} holds at most {kind.longest} pixels a side, the result has "
            f"{width} x {height}; use .png or .tif"
        )
    require_writable(path)


def _format(path: Path) -> Format:
    try:
        return format_of(path.suffix)
    except OutputError as error:
        raise OutputError(f"{shown(path)}: {error}") from error


def write(path: str | Path, picture: Picture, options: WriteOptions | None = None) -> list[str]:
    """Encode a picture, whole or not at all.

    Args:
        path: the file; its suffix, one of `WRITABLE`, decides the format. It is replaced if it exists.
        picture: what to write.
        options: how; the defaults are those of `WriteOptions`.

    Returns:
        What the format could not hold, in words: empty if everything was kept.

    Raises:
        OutputError: the file cannot be written in that format or place.
    """
    return write_pages(path, [picture], options)


def write_pages(
    path: str | Path,
    pages: Iterable[Picture],
    options: WriteOptions | None = None,
    *,
    count: int = 1,
) -> list[str]:
    """Encode pages into one file; several need TIFF.

    Args:
        path: as for `write`.
        pages: at least one; they may differ in size, depth and channels. Taken one by one, so that
            only one is in memory.
        options: as for `write`.
        count: how many pages there will be.

    Returns:
        As `write`.

    Raises:
        OutputError: as `write`, and several pages for another format.
    """
    path = Path(path)
    kind = _format(path)
    if count > 1 and kind.kind != "tiff":
        raise OutputError(f"{shown(path)}: {path.suffix} holds one page, not {count}; use .tif")
    notes: list[str] = []
    size = pointer = 0
    with replacing(path) as partial, unwritable(path), tempfile.TemporaryDirectory() as folder:
        for number, page in enumerate(pages):
            size = size or count * (
                page.pixels.nbytes + (page.alpha.nbytes if page.alpha is not None else 0)
            )
            metadata = page.metadata
            if number:  # what is said of the whole is said once
                metadata = {name: each for name, each in metadata.items() if name != "exif-data"}
            target = Path(folder) / "page.tif" if count > 1 else partial
            image, saver, said = finish(
                path, _image_of(page), metadata, options=options, lossless=page.lossless, size=size
            )
            save(image, target, saver)
            complete(target, metadata, options=options)
            notes += said
            if count > 1:
                pointer = append(target, to=partial, pointer=pointer)
    return list(dict.fromkeys(notes))


def _image_of(picture: Picture) -> Any:
    """The picture as a pyvips image, alpha last."""
    array = picture.pixels
    if picture.alpha is not None:
        array = np.concatenate((array, picture.alpha[:, :, None]), axis=2)
    return vips().Image.new_from_array(np.ascontiguousarray(array))


def _interpretation(image: Any) -> str:
    grey = image.bands < 3
    if image.format == "float":
        return "b-w" if grey else "scrgb"
    if image.format == "ushort":
        return "grey16" if grey else "rgb16"
    return "b-w" if grey else "srgb"


def finish(
    path: str | Path,
    image: Any,
    metadata: Metadata,
    *,
    options: WriteOptions | None = None,
    lossless: bool = False,
    size: int = 0,
) -> tuple[Any, dict[str, Any], list[str]]:
    """What is done to every picture before it is encoded; afterwards the file needs `complete`.

    Args:
        path: the file; its suffix, one of `WRITABLE`, decides the format.
        image: pyvips image, 1 to 4 bands (grey or RGB, with or without alpha), uchar, ushort or float.
        metadata: as of `Picture`.
        options: as for `write`.
        lossless: whether the source was, which is what WebP and AVIF go by.
        size: bytes of all pixels in the file; those of `image` by default.

    Returns:
        The image to encode, the options for libvips' saver, and what the format cannot hold, in words.

    Raises:
        OutputError: the format cannot be written.
    """
    kind, options = _format(Path(path)), options or WriteOptions()
    size = size or image.width * image.height * image.bands * {"uchar": 1, "ushort": 2}.get(image.format, 4)
    image, notes = _fitted_depth(image, kind)
    if image.bands in (2, 4) and not kind.alpha:
        image = image.flatten(background=255)
        notes.append(f"transparency was flattened onto white, {kind.kind} holds none")
    image = image.copy(interpretation=_interpretation(image))
    kept, said = _kept(image, kind, metadata, options)
    # without a resolution libvips would write its own default, 25.4 dots an inch
    image = image.copy(**{axis: kept.pop(axis, (0, 72 / 25.4))[1] for axis in ("xres", "yres")})
    for name, (kind_of_value, value) in kept.items():
        image.set_type(kind_of_value, name, value)
    blocks = [word for name, word in _KEEP.items() if name in kept]
    saver = options.saver(kind.kind, depth=_vips_depth(image), source_lossless=lossless, size=size)
    saver["keep"] = "none" if options.strip else ":".join((*blocks, "other"))
    return image, saver, notes + said


def save(image: Any, path: Path, saver: Mapping[str, Any]) -> None:
    """Have libvips write a file; call it inside `unwritable`, and `complete` the file afterwards.

    Args:
        image: from `finish`.
        path: the file, in a folder of any name; its suffix decides the format.
        saver: options from `finish`.
    """
    # as bytes: the name of a folder may be no text
    vips().Operation.call(_SAVERS[_format(path).kind], image, bytes(path), **saver)


def complete(path: Path, metadata: Metadata, *, options: WriteOptions | None = None) -> None:
    """Add to a file that libvips has written what libvips does not write.

    Args:
        path: the file, changed in place.
        metadata: as of `Picture`.
        options: as for `write`.

    Raises:
        OutputError: the disk is full.
    """
    kind = _format(path).kind
    try:
        if kind == "png" and PNG_COLOUR in metadata:
            _insert_chunks(path, metadata[PNG_COLOUR][1])
        if kind == "tiff" and not (options and options.strip):
            block = bytes(metadata.get("exif-data", (0, b""))[1]).removeprefix(b"Exif\0\0")
            records = iptc_for(kind, bytes(metadata.get("iptc-data", (0, b""))[1]))
            if block or records:
                exif.spread_into_tiff(path, block, records)
    except OSError as error:
        raise OutputError(f"{shown(path)}: cannot be written ({error.strerror or error})") from error


_SAVERS = {"png": "pngsave", "jpeg": "jpegsave", "webp": "webpsave", "tiff": "tiffsave", "avif": "heifsave"}
_KEEP = {"exif-data": "exif", "xmp-data": "xmp", "iptc-data": "iptc", "icc-profile-data": "icc"}


def _vips_depth(image: Any) -> Depth:
    depths: Mapping[str, Depth] = {"uchar": "8", "ushort": "16"}
    return depths.get(image.format, "float")


def _fitted_depth(image: Any, kind: Format) -> tuple[Any, list[str]]:
    """Reduce the depth to what a format holds."""
    depth = _vips_depth(image)
    if depth in kind.depths and not (depth == "16" and kind.kind == "avif"):
        return image, []
    if depth == "float":
        top, name, bits = (65535.0, "ushort", 16) if "16" in kind.depths else (255.0, "uchar", 8)
        image = (image * top + 0.5).floor().cast(name)
        notes = [f"floating point was reduced to {bits} bits, and what lies beyond 0 to 1 clipped"]
        return (_twelve_bits(image) if kind.kind == "avif" else image), notes
    if kind.kind == "avif":
        return _twelve_bits(image), ["16 bits were reduced to 12, avif holds no more"]
    image = ((image + 128) / 257.0).floor().cast("uchar")
    return image, [f"16 bits were reduced to 8, {kind.kind} holds no more"]


def _twelve_bits(image: Any) -> Any:
    """Round 16 bits to 12; libvips shifts them down by 4, which would darken."""
    return ((image * (4095.0 / 65535.0) + 0.5).floor() * 16).cast("ushort")


def _kept(
    image: Any, kind: Format, metadata: Metadata, options: WriteOptions
) -> tuple[dict[str, tuple[int, Any]], list[str]]:
    """The fields that this format takes, and what it does not take, in words."""
    if options.strip:
        return {}, []
    notes: list[str] = []
    kept: dict[str, tuple[int, Any]] = {}
    for name, entry in metadata.items():
        if name in BLOCKS and name not in kind.blocks:
            notes.append(f"{BLOCKS[name]} was left out, {kind.kind} holds none")
        elif name == PNG_COLOUR:
            if kind.kind != "png":
                notes.append(
                    f"the description of its colours (cICP, gAMA) was left out, {kind.kind} holds none"
                )
        elif name == "icc-profile-data":
            grey_file = image.bands < 3 and kind.kind not in ("webp", "avif")
            if bytes(entry[1])[16:20] == (b"GRAY" if grey_file else b"RGB "):
                kept[name] = entry
            else:
                notes.append(
                    f"its colour profile is not one of a {kind.kind} with these channels; left out"
                )
        elif name == "exif-data" and kind.kind != "tiff":
            fields = fallback.exif_fields(bytes(entry[1]).removeprefix(b"Exif\0\0"))
            if not fields or (kind.kind == "jpeg" and len(fields["exif-data"][1]) > 65_000):
                notes.append(f"EXIF was left out, {kind.kind} cannot hold it")
            kept.update(fields)
            kept["orientation"] = (vips().GValue.gint_type, 1)
        elif name == "iptc-data" and kind.kind == "jpeg":
            kept[name] = entry[0], iptc_for("jpeg", bytes(entry[1]))
        elif name not in ("exif-data", "iptc-data"):  # `complete` puts these into a TIFF
            kept[name] = entry
    return kept, notes


def _insert_chunks(path: Path, chunks: bytes) -> None:
    """Put chunks behind the first one of a PNG file."""
    whole = path.with_name(f"{path.name}.png")
    try:
        with path.open("rb") as before, whole.open("wb") as after:
            after.write(splice_png(before.read(33), chunks))
            shutil.copyfileobj(before, after, 1 << 20)
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)
