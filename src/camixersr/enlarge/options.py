"""The options of an enlargement: everything that decides the pixels or the file of a result.

One record, and no other list of them anywhere: the flags of the command line, the manifest of a run, the
journal of a large picture and the facts in JSON walk its fields. What is added here is in all of them.
"""

import os
import string
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

from camixersr.errors import UsageError, ValueRangeError
from camixersr.image.formats import WriteOptions, format_of
from camixersr.image.size import Size
from camixersr.units import parse_bytes

__all__ = ["DENOISER", "LOW_QUALITY", "RESTORER", "Options", "Restore", "check_template"]

Restore = Literal["auto", "on", "noise", "off"]
"""What is restored before it is enlarged: JPEGs of low quality; all, from compression or noise; nothing."""

RESTORER, DENOISER = "s-jpeg", "s-noise"
"""The models that restore pictures before they are enlarged: from compression, from noise."""

LOW_QUALITY = 85
"""Of a JPEG, at and below which it is better enlarged if it is restored first; see docs/restoration.md."""

_OF_THE_FILE = frozenset({"format", "quality", "subsampling", "compression", "lossless", "name"})
"""Options that decide how pixels are stored, and not which they are."""

_IN_NAMES = ("stem", "name", "size")
"""What a name template may contain: name without suffix, with it, and the size asked for (x4)."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to enlarge pictures, and how to write the results.

    Attributes:
        model: A name from `camixersr models list`, or a file of weights. Default: an embedded model.
        scale: How many times as high and wide the result is, for example 4 or 1.5. The models set the
            limit. Default: 4, or the scale of the given model.
        width: Columns of the result. The rows follow, unless the height is given too.
        height: Rows of the result. The columns follow, unless the width is given too.
        fit: Frame that the result just fits into, for example 3840x2160.
        megapixels: Size of the result, in millions of pixels.
        at_most: Stop at what the model makes. A small picture then stays smaller than you asked for.
            Without this option bicubic interpolation enlarges it further, to the --width, --height, --fit
            or --megapixels that you asked for.
        attention_ratio: Share of windows that get attention, from 0 (fastest) to 1. It is an average over
            photographs. Default: what the model recommends, the least that costs no quality.
        restore: Undo JPEG compression before enlarging. auto: in JPEGs of quality 85 and less, which were
            always better for it. on: in all pictures. off: in none. noise: remove noise instead, from all.
        preview: Enlarge only the part with most detail, 256 x 256 pixels, for a quick look.
        routing: How windows are chosen for attention. auto: by thresholds, so a plain picture spends less
            than the ratio. top-share: exactly that share of every picture's windows.
        max_share: Never give attention to more than this share of a picture's windows.
        seconds: Choose the attention ratio so that each picture takes no longer than this.
        memory: Choose tiles so that camixersr needs no more memory than this in all, such as 2GB.
        tile: Side of a tile in pixels of the input: a multiple of 64, 0 for no tiles, or auto.
        batch: Tiles of a picture that are computed at once. auto: one on the CPU. On a GPU: as many as
            its memory should hold.
        device: Where to compute: cpu, cuda, cuda:1 or mps. Several devices (cuda:0,cuda:1, or all) share a
            picture's tiles or a folder's files. auto: the first accelerator, else the CPU.
        backend: What computes: native (our own program for the CPU), torch, or compile (torch.compile).
            The extras onnxruntime and openvino compute on the CPU. auto: native where it computes the
            model, else torch. fastest: the fastest backend here. camixersr measures each model once, for
            at most 15 seconds (see `camixersr doctor`).
        precision: Number format to compute in. auto: fp32.
        alpha: What enlarges transparency: the model, or bicubic interpolation.
        projection: Which pictures are equirectangular 360-degree panoramas, to be enlarged without a seam.
            erp: all of them. auto: those whose metadata (GPano) says it. flat: none.
        salvage: Enlarge what can be read of a damaged or truncated picture, instead of refusing it.
        color: keep: the colour values and their profile stay. srgb: the colours are converted to sRGB.
        format: Format of the results. Default: the source's format if it can hold the result, else PNG or
            TIFF.
        quality: Quality from 1 to 100. Default: 95 for JPEG and WebP, 90 for AVIF.
        subsampling: Colour subsampling of JPEG and AVIF. Default: 4:4:4.
        compression: Of PNG: 0 to 9 (default 6). Of TIFF: none, lzw, deflate (default) or packbits.
        lossless: Write WebP and AVIF without loss. Default: as the source was.
        strip: Write no metadata. Colours with a profile are converted to sRGB.
        name: Names of the results, made of {stem}, {name} (with suffix) and {size} (x4, w1920 ...).
            Default: {stem}_{size}, or {stem}_restored.

    Raises:
        UsageError: an unknown value, or two that exclude each other.
        ValueRangeError: a number out of its range.
    """

    model: str | None = None
    scale: float | None = None
    width: int | None = None
    height: int | None = None
    fit: str | None = None
    megapixels: float | None = None
    at_most: bool = False
    attention_ratio: float | None = None
    restore: Restore = "auto"
    preview: bool = False
    routing: Literal["auto", "top-share"] = "auto"
    max_share: float = 1.0
    seconds: float | None = None
    memory: int | str | None = None
    tile: int | Literal["auto"] = "auto"
    batch: int | Literal["auto"] = "auto"
    device: str = "auto"
    backend: Literal["auto", "fastest", "native", "torch", "compile", "onnxruntime", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    alpha: Literal["model", "bicubic"] = "model"
    projection: Literal["auto", "flat", "erp"] = "auto"
    salvage: bool = False
    color: Literal["keep", "srgb"] = "keep"
    format: Literal["png", "jpg", "jpeg", "webp", "tif", "tiff", "avif"] | None = None
    quality: int | None = None
    subsampling: Literal["4:4:4", "4:2:0"] | None = None
    compression: str | None = None
    lossless: bool | None = None
    strip: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        for name, hint in _hints().items():
            _require_choice(name, getattr(self, name), hint)
        for name in ("attention_ratio", "max_share"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueRangeError(f"{_flag(name)} must lie in [0, 1], got {value:g}")
        if self.seconds is not None and not self.seconds > 0.0:
            raise ValueRangeError(f"--seconds must be positive, got {self.seconds:g}")
        if self.memory is not None:
            object.__setattr__(self, "memory", parse_bytes(str(self.memory), "--memory"))
        if self.batch != "auto" and self.batch < 1:
            raise ValueRangeError(f"--batch must be at least 1, got {self.batch}")
        if self.name is not None:
            check_template(self.name)
        _, write = self.size, self.write  # which check themselves
        if self.format is not None:
            write.require_use(format_of(self.suffix).kind)

    @cached_property
    def size(self) -> Size:
        """What was asked for of the results' size."""
        frame = None if self.fit is None else Size.frame(self.fit)
        return Size(self.scale, self.width, self.height, frame, self.megapixels, self.at_most)

    @cached_property
    def write(self) -> WriteOptions:
        """How to encode."""
        return WriteOptions(self.quality, self.subsampling, self.compression, self.lossless, self.strip)

    @property
    def suffix(self) -> str:
        """Of the format asked for, with its dot; empty if none was."""
        return f".{self.format}" if self.format else ""

    def restores(self, quality: int | None) -> bool:
        """Whether a picture is to be restored before it is enlarged.

        Args:
            quality: of a JPEG, 1 to 100; None of anything else.
        """
        low = quality is not None and quality <= LOW_QUALITY
        return self.restore in ("on", "noise") or (self.restore == "auto" and low)

    @property
    def restorer(self) -> str:
        """The name of the model that restores pictures before they are enlarged."""
        return DENOISER if self.restore == "noise" else RESTORER

    @property
    def colours(self) -> Literal["keep", "srgb"]:
        """What becomes of colour values: without metadata their profile would be lost."""
        return "srgb" if self.strip else self.color

    @property
    def memory_bytes(self) -> int | None:
        """The memory granted, in bytes."""
        assert not isinstance(self.memory, str)
        return self.memory

    def record(self, *, of_pixels: bool = False) -> dict[str, Any]:
        """All options as plain JSON values, by name.

        Args:
            of_pixels: only those that decide pixels, and not how they are stored.
        """
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if not (of_pixels and each.name in _OF_THE_FILE)
        }


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _hints() -> dict[str, Any]:
    return get_type_hints(Options)


def _require_choice(name: str, value: object, hint: Any) -> None:
    """Refuse what is none of the words that an option knows."""
    kinds = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    free = any(kind in (int, str) and isinstance(value, kind) for kind in kinds)
    if words and value is not None and not free and value not in words:
        raise UsageError(f"unknown {_flag(name)} {value!r}; use one of {', '.join(map(str, words))}")


def check_template(template: str) -> None:
    """Refuse a name template that cannot name files.

    Args:
        template: such as "{stem}_{size}"; the suffix is added to it.

    Raises:
        UsageError: unknown fields, a path, or no field that tells pictures apart.
    """
    try:
        parsed = [
            (name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(template)
        ]
    except ValueError as error:
        raise UsageError(f"--name {template!r} is no template: {error}") from error
    used = [name for name, _, _ in parsed if name is not None]
    plain = all(not spec and not conversion for _, spec, conversion in parsed)
    known = ", ".join(f"{{{name}}}" for name in _IN_NAMES)
    if any(name not in _IN_NAMES for name in used) or not plain:
        raise UsageError(f"--name {template!r} may contain {known} and nothing else in braces")
    if not {"stem", "name"} & set(used):
        raise UsageError(
            f"--name {template!r} must contain {{stem}} or {{name}}, or all results are one file"
        )
    if "/" in template or os.sep in template or "\0" in template:
        raise UsageError(f"--name {template!r} must be a name, not a path; folders are mirrored")
