"""Calibrated thresholds against strict top-share, at the same average share of attention.

    python benchmarks/thresholds.py --model s-x4 --data FOLDER [FOLDER ...] [--json FILE]

With thresholds a plain picture spends less than a busy one; top-share gives every picture the same.
For each ratio the thresholds are run first, and top-share then gets, for every picture, the share that
the thresholds spent on the set as a whole.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from camixersr import evaluation
from camixersr.catalogue import find
from camixersr.data import open_set
from camixersr.inference.computer import Computer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.25, 0.5, 0.75])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = find(options.model)
    calibrated = Computer(model)
    strict = Computer(replace(model, calibration=None))
    rows: list[dict[str, Any]] = []
    for folder in options.data:
        images = open_set(folder)
        for ratio in options.ratios:
            ours = evaluation.evaluate([calibrated], images, attention_ratios=[ratio])[0][-1]
            spent = fmean(score.attention_share for score in ours.images)
            theirs = evaluation.evaluate([strict], images, attention_ratios=[spent])[0][-1]
            row = {
                "set": images.name,
                "ratio": ratio,
                "share": round(spent, 4),
                "thresholds_psnr": round(ours.psnr, 4),
                "top_share": round(fmean(score.attention_share for score in theirs.images), 4),
                "top_share_psnr": round(theirs.psnr, 4),
            }
            rows.append(row)
            print(row, flush=True)
    if options.json:
        facts = {"model": model.name, "sha256": model.sha256, "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
