"""Throughput of a fleet of two workers beside `camixersr upscale` on the same folder, in turns.

    python benchmarks/fleet.py FOLDER [--rounds 3]

FOLDER holds pictures. Both have two processor cores: `upscale` two threads, the fleet two workers of one.
Each round runs both, so that another load of the machine falls on both. `upscale` is timed from start to
end; of the fleet also without the time that Ray takes to start and end. Results are compared, too.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(*arguments: object, threads: int) -> float:
    """Seconds of a command."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "camixersr", "--quiet", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
        check=True,
    )
    return time.perf_counter() - began


def rows_of(results: Path) -> list[dict]:
    return [
        json.loads(line)
        for part in (results / "camixersr-fleet" / "rows").glob("[!.]*.jsonl")
        for line in part.read_text().splitlines()
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ratios, whole = [], []
    for number in range(arguments.rounds):
        place = Path(tempfile.mkdtemp())
        alone = timed("upscale", arguments.folder, "-o", place / "alone", threads=2)
        fleet = timed("fleet", "upscale", arguments.folder, place / "fleet", "--workers", 2, threads=1)
        rows = rows_of(place / "fleet")
        work = max(row["time"] for row in rows) - min(row["time"] - row["seconds"] for row in rows)
        megapixels = sum(row["megapixels"] for row in rows)
        same = all(
            (place / "fleet" / row["result"]).read_bytes() == (place / "alone" / row["result"]).read_bytes()
            for row in rows
        )
        ratios.append(alone / work)
        whole.append(alone / fleet)
        print(
            f"round {number + 1}: {megapixels:.1f} Mpx; upscale {alone:.1f} s; "
            f"fleet {fleet:.1f} s, of these {work:.1f} s with pictures; "
            f"{len({row['worker'] for row in rows})} workers; same bytes: {same}; "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        shutil.rmtree(place)
    print(f"fleet / upscale in Mpx/s, median: {statistics.median(ratios):.2f} with pictures, "
          f"{statistics.median(whole):.2f} with all that Ray takes")  # fmt: skip


if __name__ == "__main__":
    main()
