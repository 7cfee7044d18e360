"""Find a benchmark set below a folder, however its files are laid out, and pair them.

    Set5/x4/high, Set5/x4/low                 this project's own
    Set5/HR, Set5/LRbicx4                     BasicSR's users
    Set5/HR, Set5/LR_bicubic/X4/babyx4.png    EDSR's, and DIV2K's
    Set5/image_SRF_4/img_001_SRF_4_HR.png     SelfExSR's
    Set5/*.png                                high pictures alone

Where there are no low pictures of a scale they are made. Nothing is decoded here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from camixersr.data import SUFFIXES, BenchmarkSet, Pair, Reduction
from camixersr.errors import InputError
from camixersr.reproduce.known import KnownSet, is_called, known_set

__all__ = ["Layout", "lay_out", "locate"]

HIGH = (
    *("x{s}/high", "x{s}/HR", "image_SRF_{s}", "high", "HR/x{s}", "HR", "GTmod{s}", "GTmod12", "GT"),
    *("original", "testing/HR", "test/HR", "."),
)
"""Where high pictures of scale s may be, below a set's folder; case does not matter."""

LOW = (
    *("x{s}/low", "x{s}/LR", "image_SRF_{s}", "low/x{s}", "low", "LRbicx{s}", "LR_bicubic/x{s}", "LRx{s}"),
    *("LR/x{s}", "LR_x{s}", "bicubic/x{s}", "testing/LR/x{s}", "test/LR/x{s}"),
)
"""Where low ones may be."""

DEEPEST = 3
"""Folders between `--data` and the one of a set, and that one."""


@dataclass(frozen=True)
class Layout:
    """A set as it lies on the disk.

    Attributes:
        benchmark: its pairs; in `problems` what cannot be paired.
        folder: of the set.
        high: folder of the high pictures.
        low: folder of the low ones; None where they are made.
        expected: how many pictures the published set has; None where it is not known.
    """

    benchmark: BenchmarkSet
    folder: Path
    high: Path
    low: Path | None
    expected: int | None


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders below one, those nearer first."""
    level = [folder]
    for _ in range(depth):
        level = [each for parent in level for each in sorted(parent.iterdir()) if each.is_dir()]
        yield from level


def locate(data: Path, name: str) -> Path | None:
    """The folder of a set: of that name, or, of a known set, of one of its aliases.

    Args:
        data: where to search, three folders deep; or the set's folder itself.
        name: of the set; or a path below `data`.

    Returns:
        The nearest one; None if there is none.

    Raises:
        InputError: `data` is no folder.
    """
    if not data.is_dir():
        raise InputError(f"{data}: expected a folder with benchmark sets; docs/data.md shows its layout")
    known = known_set(name) or KnownSet(name, 0, ())
    if (data / name).is_dir():
        return data / name
    own = [data.resolve()] if is_called(data.resolve().name, known) else []
    return next((each for each in (*own, *_folders(data, DEEPEST)) if is_called(each.name, known)), None)


def _below(folder: Path, path: str) -> Path | None:
    """A folder below another, whatever the case of its name."""
    for part in Path(path).parts:
        names = {each.name.lower(): each for each in sorted(folder.iterdir()) if each.is_dir()}
        if part.lower() not in names:
            return None
        folder = names[part.lower()]
    return folder


def _first(folder: Path, candidates: tuple[str, ...], scale: int) -> Path | None:
    """The first of these folders that has pictures."""
    for candidate in candidates:
        found = _below(folder, candidate.format(s=scale))
        if found is not None and any(_is_picture(each) for each in found.iterdir()):
            return found
    return None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _named(folder: Path, ending: str, problems: list[str]) -> dict[str, Path]:
    """Pictures by the name that both halves of a pair share.

    Args:
        folder: that holds them.
        ending: what this half's names may end with, a pattern.
        problems: where two files of one name are told.
    """
    files = [each for each in sorted(folder.iterdir()) if _is_picture(each)]
    both = any(re.search(r"_HR$", each.stem) for each in files)  # high and low in one folder
    half = [each for each in files if not both or re.search(ending, each.stem)]
    found: dict[str, Path] = {}
    for each in half:
        name = re.sub(ending, "", each.stem)
        if name in found:
            problems.append(f"{each}: is the second picture {name} beside {found[name].name}; keep one")
        else:
            found[name] = each
    return found


def lay_out(folder: Path, scale: int, reduction: Reduction, *, name: str = "") -> Layout | None:
    """Pair the pictures of a set at a scale.

    Args:
        folder: of the set.
        scale: high pixels a low pixel.
        reduction: makes the low pictures where there are none.
        name: of the set; that of the folder by default.

    Returns:
        The set; None if the folder has no high pictures for this scale.
    """
    high = _first(folder, HIGH, scale)
    if high is None:
        return None
    low = _first(folder, LOW, scale)
    known = known_set(name or folder.name)
    problems: list[str] = []
    highs = _named(high, r"(_SRF_\d+)?_HR$", problems)
    lows: dict[str, Path] = {}
    if low is not None:
        lows = _named(low, r"(_SRF_\d+)?_LR$", problems)
        for key, path in list(lows.items()):
            marked = re.fullmatch(r"(.+?)_?x(\d)", key)
            if key not in highs and marked is not None:
                if int(marked[2]) != scale:
                    problems.append(f"{path}: expected a low picture of x{scale}, named x{marked[2]}")
                lows[marked[1]] = lows.pop(key)
        where = low.relative_to(folder)
        for key in sorted(highs.keys() - lows.keys()):
            problems.append(f"{highs[key]}: has no low picture in {where}")
        for key in sorted(lows.keys() - highs.keys()):
            problems.append(f"{lows[key]}: has no high picture in {high.relative_to(folder)}")
    expected = known.pictures if known is not None else None
    pairs = tuple(
        Pair(key, path, lows.get(key), reduction)
        for key, path in highs.items()
        if low is None or key in lows
    )
    if expected is not None and len(highs) != expected:
        problems.append(f"{high}: expected the {expected} pictures of {folder.name}, got {len(highs)}")
    called = known.name if known is not None else name or folder.name
    made = reduction.name if low is None else ""
    return Layout(BenchmarkSet(called, pairs, made, tuple(problems)), folder, high, low, expected)
