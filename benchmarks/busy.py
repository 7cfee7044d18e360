"""The whole command alone and beside a process that computes all the time, in turns.

    python benchmarks/busy.py PHOTO [--size 512] [--rounds 5] [--precision fp32]

The photograph, resized to a square, is enlarged by `camixersr upscale` with the native core. Medians of the
seconds.
With N cores and N threads, a busy process leaves them N / (N + 1) of the machine by rights.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

BUSY = "while True: pass"


@contextmanager
def busy(wanted: bool) -> Generator[None]:
    """Beside another process, if wanted."""
    if not wanted:
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.5)
        yield
    finally:
        other.kill()
        other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    given = parser.parse_args()
    taken: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        low, high = Path(folder) / "low.png", Path(folder) / "high.png"
        with Image.open(given.photo) as photo:
            photo.convert("RGB").resize((given.size, given.size)).save(low)
        command = ["camixersr", "upscale", str(low), "-o", str(high), "--backend", "native"]
        command += ["--precision", given.precision, "--overwrite"]
        for number in range(given.rounds + 1):  # the first one warms the caches
            for beside in taken:
                with busy(beside):
                    began = time.perf_counter()
                    subprocess.run(command, check=True, capture_output=True)
                    if number:
                        taken[beside].append(time.perf_counter() - began)
    alone, beside = (statistics.median(taken[which]) for which in (False, True))
    cores = len(os.sched_getaffinity(0))
    print(
        f"alone {alone:.2f} s ({min(taken[False]):.2f} to {max(taken[False]):.2f}), "
        f"beside a busy process {beside:.2f} s ({min(taken[True]):.2f} to {max(taken[True]):.2f}): "
        f"{beside / alone:.2f} times; {(cores + 1) / cores:.2f} by rights of {cores} cores"
    )


if __name__ == "__main__":
    main()
