"""Are the files of a set right? Sizes, depths, numbers; of sets that were at hand the pixels themselves."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from camixersr.data import BICUBIC, BenchmarkSet, Pair, read_rgb
from camixersr.errors import InputError
from camixersr.image.stream import look
from camixersr.reproduce.known import KNOWN, hash_of, hashes
from camixersr.reproduce.layouts import Layout, lay_out, locate

__all__ = ["Checked", "check_folder", "require_sizes"]


@dataclass(frozen=True)
class Checked:
    """What was found of one set at one scale.

    Attributes:
        name: of the set.
        scale: high pixels a low pixel.
        layout: where it lies; None if it was not found.
        pictures: that are right.
        pixels: "known": all are those of the set as it is distributed; "another edition": none is;
            "differ": some are not; empty where hashes are not known.
        problems: a line each.
    """

    name: str
    scale: int
    layout: Layout | None
    pictures: int
    pixels: str
    problems: tuple[str, ...]


def _size(path: Path) -> tuple[int, int]:
    """Height and width by the file's head.

    Raises:
        ImageError: it cannot be read.
        InputError: it has no 8-bit samples.
    """
    seen = look(path)
    if seen.depth != "8":
        bits = "floating point" if seen.depth == "float" else f"{seen.depth} bits"
        raise InputError(f"{path}: expected 8 bits a sample, got {bits}; benchmarks are of 8 bits")
    return seen.layout.height, seen.layout.width


def _pair_problem(pair: Pair, scale: int) -> tuple[str, int]:
    """What is wrong with a pair, by its heads, and the scale that it seems to be of; else "" and 0."""
    try:
        height, width = _size(pair.high)
        if pair.low is None:
            return ("", 0) if min(height, width) >= scale else (f"{pair.high}: is smaller than x{scale}", 0)
        low = _size(pair.low)
    except InputError as error:
        return str(error), 0
    if low == (height // scale, width // scale):
        return "", 0
    other = next((s for s in (1, 2, 3, 4, 8) if low == (height // s, width // s)), 0)
    hint = f"; it is one of x{other}" if other else ""
    return (
        f"{pair.low}: expected {width // scale} x {height // scale} pixels, high / {scale}, got "
        f"{low[1]} x {low[0]}{hint}",
        other,
    )


def require_sizes(benchmark: BenchmarkSet, scale: int) -> BenchmarkSet:
    """Leave the pairs of a set whose files' heads fit together; the others become its problems.

    Args:
        benchmark: any set.
        scale: high pixels a low pixel.

    Returns:
        The set, with a line for each picture that is left out: of another size, of 16 bits, unreadable.
        One line says it where all are of one other scale.
    """
    right: list[Pair] = []
    wrong: list[str] = []
    others: Counter[int] = Counter()
    for pair in benchmark.pairs:
        problem, other = _pair_problem(pair, scale)
        if not problem:
            right.append(pair)
            continue
        wrong.append(problem)
        others[other] += 1
    for other, count in others.items():
        if other and count == len(benchmark.pairs) > 1 and (low := benchmark.pairs[0].low) is not None:
            wrong = [f"{low.parent}: expected low pictures of x{scale}, got x{other} in all {count}"]
    return replace(benchmark, pairs=tuple(right), problems=(*benchmark.problems, *wrong))


def _compare(benchmark: BenchmarkSet, scale: int) -> tuple[str, int, list[str]]:
    """Decode every picture, and compare its pixels with the known ones'.

    Returns:
        `Checked.pixels`, pictures that are right, and problems.
    """
    known = hashes().get(f"{benchmark.name}/x{scale}")
    problems: list[str] = []
    strangers: list[Path] = []
    right = same = 0
    for pair in benchmark.pairs:
        try:
            halves = [(pair.high, "high", read_rgb(pair.high))]
            if pair.low is not None:
                low, high = pair.read(scale)
                halves = [(pair.high, "high", high), (pair.low, "low", low)]
        except InputError as error:
            problems.append(str(error))
            continue
        right += 1
        for path, part, pixels in halves if known is not None else ():
            height, width = (length - length % scale for length in pixels.shape[:2])
            cropped = pixels if part == "low" else pixels[:height, :width]
            if known is not None and hash_of(cropped) in known[part]:
                same += 1
            else:
                strangers.append(path)
    if known is None:
        return "", right, problems
    if not same and right:
        return "another edition", right, problems
    problems += [f"{path}: its pixels are not those of {benchmark.name}" for path in strangers]
    return "differ" if strangers else "known", right, problems


def check_folder(
    data: Path, names: tuple[str, ...] = (), *, progress: Callable[[str], None] = lambda line: None
) -> list[Checked]:
    """Look for the known sets below a folder, and check what is found.

    Args:
        data: the folder.
        names: of the sets; all known ones by default.
        progress: told each set that is decoded.

    Returns:
        For each set and scale what was found, in the order of `KNOWN`.

    Raises:
        InputError: no such folder.
    """
    found: list[Checked] = []
    for name in names or tuple(KNOWN):
        folder = locate(data, name)
        for scale in KNOWN[name].scales if name in KNOWN else (2, 3, 4):
            layout = None if folder is None else lay_out(folder, scale, BICUBIC, name=name)
            if layout is None:
                found.append(Checked(name, scale, None, 0, "", ()))
                continue
            progress(f"{name} x{scale}: {len(layout.benchmark.pairs)} pictures in {layout.high}")
            checked = require_sizes(layout.benchmark, scale)
            pixels, right, problems = _compare(checked, scale)
            found.append(Checked(name, scale, layout, right, pixels, (*checked.problems, *problems)))
    return found
