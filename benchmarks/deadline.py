"""How well `--seconds` is kept: pictures x deadlines between the times of ratio 0 and of ratio 1.

    python benchmarks/deadline.py PICTURE... [--busy] [--json FILE]

Each picture is first enlarged at ratio 0 and at ratio 1, in turns, without a deadline. The deadlines are a
quarter, a half and three quarters of the way between the two. With `--busy` another process computes while
deadlines are kept, and not while the two times are measured.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import camixersr
from camixersr.speed.machine import describe

PLACES = (0.25, 0.5, 0.75)


def load_the_machine() -> None:
    values = np.random.default_rng(0).random((600, 600))
    while True:
        values = values @ values
        values /= values.max()


def taken(upscaler: camixersr.Upscaler, picture: Path, target: Path, **options: Any) -> tuple[float, float]:
    """Seconds, and the share of windows that were attended."""
    began = time.perf_counter()
    written = upscaler.upscale_file(picture, target, options=camixersr.Options(**options), overwrite=True)
    assert written.cost is not None
    return time.perf_counter() - began, written.cost.attention_share


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--rounds", type=int, default=2, help="of the two times without a deadline")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    upscaler = camixersr.load(given.model, backend=given.backend)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "large.png"
        taken(upscaler, given.pictures[0], target, attention_ratio=1.0)
        for picture in given.pictures:
            both = [
                [taken(upscaler, picture, target, attention_ratio=ratio)[0] for ratio in (0.0, 1.0)]
                for _ in range(given.rounds)
            ]
            least, most = (median(each) for each in zip(*both, strict=True))
            other = multiprocessing.get_context("spawn").Process(target=load_the_machine, daemon=True)
            if given.busy:
                other.start()
            for place in PLACES:
                seconds = least + place * (most - least)
                took, share = taken(upscaler, picture, target, seconds=seconds)
                rows.append(
                    {
                        "picture": picture.name,
                        "ratio_0": round(least, 2),
                        "ratio_1": round(most, 2),
                        "deadline": round(seconds, 2),
                        "took": round(took, 2),
                        "over_percent": round(100 * (took / seconds - 1), 1),
                        "attended_percent": round(100 * share, 1),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
            if given.busy:
                other.terminate()
                other.join()
    worst = max(row["over_percent"] for row in rows)
    print(f"worst: {worst:+.1f} % of {'+25 % (busy)' if given.busy else '+10 % (quiet)'}")
    if given.json:
        facts = {"busy": given.busy, "worst_over_percent": worst, "rows": rows, **describe()}
        given.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
