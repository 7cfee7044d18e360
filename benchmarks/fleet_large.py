"""One large picture over several workers: are its bytes those of `camixersr upscale`?

    python benchmarks/fleet_large.py [--megapixels 60] [--scale 2] [--attention-ratio 0] [--workers 2]

It makes a tiled TIFF of so many megapixels, strip by strip, enlarges it alone and by a fleet whose workers
share its tiles, and compares the results. At 60 megapixels and twice the size each result has 240
megapixels and takes 0.7 GB, and what is under way as much again: name a disk with `--folder`. A quiet
machine tells seconds; any machine tells bytes.
"""

import argparse
import hashlib
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make(path: Path, megapixels: float) -> tuple[int, int]:
    """Write a picture of 8:5, computed as it is written; columns and rows."""
    import pyvips

    rows = max(64, round(math.sqrt(megapixels * 1e6 / 1.6)))
    columns = round(1.6 * rows)
    bands = [
        pyvips.Image.perlin(columns, rows, cell_size=cell, seed=seed).linear(100, 128)
        for seed, cell in enumerate((40, 56, 72))
    ]
    picture = bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb")
    picture.tiffsave(str(path), tile=True, compression="deflate", bigtiff=True)
    return columns, rows


def run(*arguments: object, threads: int) -> float:
    """Seconds of a command."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "camixersr", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
        check=True,
    )
    return time.perf_counter() - began


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megapixels", type=float, default=60.0)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--attention-ratio", type=float, default=0.0)
    parser.add_argument("--tile", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        photos, alone, fleet = (Path(place, name) for name in ("photos", "alone", "fleet"))
        photos.mkdir()
        columns, rows = make(photos / "large.tif", arguments.megapixels)
        print(f"picture: {columns} x {rows}, {columns * rows / 1e6:.1f} megapixels", flush=True)
        how = ("--scale", arguments.scale, "--tile", arguments.tile, "--attention-ratio")
        how = (*how, arguments.attention_ratio, "--compression", "none")
        count = arguments.workers
        seconds = run("upscale", photos, "-o", alone, "--memory", "4GB", *how, threads=count)
        print(f"alone, {count} threads: {seconds:.0f} s", flush=True)
        shared = ("--workers", count, "--shard-above", 0, "--memory", "4GB")
        seconds = run("fleet", "upscale", photos, fleet, *shared, *how, threads=1)
        print(f"fleet, {count} workers of 1 thread: {seconds:.0f} s", flush=True)
        name = f"large_x{arguments.scale}.tif"
        ours, theirs = digest(fleet / name), digest(alone / name)
        size = (alone / name).stat().st_size
        print(f"result: {size / 1e6:.1f} MB, SHA-256 {theirs[:16]} alone, {ours[:16]} shared")
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"most memory of a process: {most / 1e3:.0f} MB")
        print("the same bytes" if ours == theirs else "DIFFERENT bytes")
        return int(ours != theirs)


if __name__ == "__main__":
    sys.exit(main())
