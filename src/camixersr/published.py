"""Published numbers, from `published.toml` or a file like it: no number of a paper stands anywhere else."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from camixersr.errors import InputError

__all__ = ["LARGE_SETS", "Stated", "bicubic", "find", "load"]

OWN = Path(__file__).with_name("published.toml")

LARGE_SETS: tuple[str, ...] = ("F2K", "Test2K", "Test4K", "Test8K")


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a table states of one network.

    Attributes:
        table: "lightweight", "large", "omni", or another table of `camixersr reproduce`.
        network: as the table calls it.
        scale: high pixels a low pixel.
        source: where the numbers stand.
        sets: PSNR in dB and, where stated, SSIM, by set; of "omni" also WS-PSNR and WS-SSIM.
        official: the authors' checkpoint that this is; empty for none.
        attention_ratio: gamma; None where there is none.
        way: of computing: "tiles 64/4", "flat", or empty for whole pictures.
        macs_720p: multiply-adds at 1280 x 720 out; None where not stated.
        flops_32: FLOPs of the large-image table; likewise.
    """

    table: str
    network: str
    scale: int
    source: str
    sets: Mapping[str, Sequence[float]]
    official: str = ""
    attention_ratio: float | None = None
    way: str = ""
    macs_720p: float | None = None
    flops_32: float | None = None


@dataclass(frozen=True)
class _Kind:
    """What a value must be: for messages."""

    types: tuple[type, ...]
    said: str


_KINDS: Mapping[str, _Kind] = {
    **{name: _Kind((str,), "a text") for name in ("table", "network", "source", "official", "way")},
    "scale": _Kind((int,), "a whole number"),
    **{name: _Kind((int, float), "a number") for name in ("attention_ratio", "macs_720p", "flops_32")},
    "sets": _Kind((dict,), "a table of sets"),
}


def _stated(path: Path, number: int, given: Any, sources: Mapping[str, str]) -> Stated:
    """One entry of a file, checked."""
    what = f"{path}: [[network]] number {number}"
    known = {each.name for each in fields(Stated)}
    needed = known - {"official", "attention_ratio", "way", "macs_720p", "flops_32"}
    if unknown := sorted(given.keys() - known):
        raise InputError(f"{what}: unknown {unknown[0]!r}; there are {', '.join(sorted(known))}")
    if missing := sorted(needed - given.keys()):
        raise InputError(f"{what}: {missing[0]!r} is missing")
    for name, value in given.items():
        if not isinstance(value, _KINDS[name].types) or isinstance(value, bool):
            raise InputError(f"{what}: expected {_KINDS[name].said} for {name!r}, got {value!r}")
    for name, numbers in given["sets"].items():
        right = isinstance(numbers, list) and all(type(each) in (int, float) for each in numbers)
        if not right or len(numbers) not in (1, 2, 4):
            raise InputError(f"{what}: expected 1, 2 or 4 numbers for {name}, got {numbers!r}")
    return Stated(**given | {"source": sources.get(given["source"], given["source"])})


@cache
def load(path: Path = OWN) -> tuple[Stated, ...]:
    """Read published numbers.

    Args:
        path: a file as `published.toml` is.

    Raises:
        InputError: no such file, or an entry is not as expected.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected TOML: {error}") from error
    entries = content.get("network", [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InputError(f"{path}: expected entries [[network]]")
    return tuple(
        _stated(path, number, each, content.get("sources", {})) for number, each in enumerate(entries, 1)
    )


def find(
    stated: Sequence[Stated],
    *,
    table: str,
    scale: int,
    official: str = "",
    network: str = "",
    attention_ratio: float | None,
    way: str = "",
) -> Stated | None:
    """The entry that a row is compared with; None if there is none.

    Args:
        stated: from `load`.
        table: whose numbers.
        scale: high pixels a low pixel.
        official: the row's authors' checkpoint; where empty, `network` decides.
        network: its name in the table.
        attention_ratio: of the row.
        way: of the row.
    """
    return next(
        (
            each
            for each in stated
            if (each.table, each.scale, each.way) == (table, scale, way)
            and (each.official == official if official else each.network == network)
            and each.attention_ratio == attention_ratio
        ),
        None,
    )


def bicubic() -> dict[tuple[str, int], float]:
    """Luma PSNR of MATLAB's bicubic, dB, by set and scale.

    >>> bicubic()["Set5", 4]
    28.42
    """
    return {
        (name, each.scale): numbers[0]
        for each in load()
        if each.network == "bicubic" and each.table == "lightweight"
        for name, numbers in each.sets.items()
    }
